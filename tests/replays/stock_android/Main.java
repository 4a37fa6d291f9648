import org.junit.runner.JUnitCore;
import org.junit.runner.Result;
import org.junit.runner.notification.Failure;

/** Starts the phone. Apart from it, because the JVM cannot load Android's classes before Robolectric has its loader. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws ClassNotFoundException {
        Result result = new JUnitCore().run(Class.forName("Phone", false, Main.class.getClassLoader()));
        for (Failure failure : result.getFailures()) {
            System.err.println(failure.getTrace());
        }
        System.exit(result.wasSuccessful() ? 0 : 1);
    }
}
