import android.Manifest;
import android.app.Application;
import android.content.pm.PackageInfo;
import android.os.Bundle;
import androidx.lifecycle.ProcessLifecycleOwner;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.Security;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.annotation.Config;
import org.robolectric.annotation.ConscryptMode;
import org.robolectric.shadow.api.Shadow;
import org.robolectric.shadows.ShadowApplication;
import org.robolectric.shadows.ShadowLooper;
import org.robolectric.shadows.ShadowPackageManager;
import org.robolectric.util.ReflectionHelpers;

/**
 * A phone with the stock SDK in its app, which does what standard input asks, one JSON array a line, and tells on
 * standard output what the SDK said. Ends with its input. Its storage, the folder of the property phone.storage, outlives it.
 *
 * <p>TLS is the JVM's own, so that its properties say which proxy it goes by and whom it trusts.
 */
@RunWith(RobolectricTestRunner.class)
@Config(sdk = 35, manifest = Config.NONE)
@ConscryptMode(ConscryptMode.Mode.OFF)
public final class Phone {
    /** How much time passes for Android whenever nothing was asked for so long. */
    private static final int TICK_MS = 10;

    private static final String MARK = "@phone ";
    private static final String END = "";

    private final BlockingQueue<String> asked = new LinkedBlockingQueue<>();

    @Test
    public void lives() throws Exception {
        Security.insertProviderAt(new DeviceKeyStore(), 1);
        Application application = RuntimeEnvironment.getApplication();
        equip(application);
        Path kept = Path.of(System.getProperty("phone.storage"));
        Path own = Path.of(application.getDataDir().getPath());
        copy(kept, own);
        App app = new App(application, event -> tell(new JSONObject(Map.of("event", event))));
        Thread reader = new Thread(this::read, "asked");
        reader.setDaemon(true);
        reader.start();
        tell(new JSONObject().put("ready", true));
        String line = null;
        while (!END.equals(line)) {
            if (line != null) {
                ask(app, new JSONArray(line));
            }
            ShadowLooper.idleMainLooper(TICK_MS, TimeUnit.MILLISECONDS);
            line = asked.poll(TICK_MS, TimeUnit.MILLISECONDS);
        }
        copy(own, kept);
    }

    private static void ask(App app, JSONArray call) throws JSONException {
        int number = call.getInt(0);
        app.ask(call.getString(1), call, (error, value) -> answer(number, error, value));
    }

    private static void answer(int number, Throwable error, Object value) {
        try {
            tell(new JSONObject().put("call", number).put("error", error == null ? null : error.toString())
                    .put("value", value));
        } catch (JSONException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    private void read() {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                asked.add(line);
            }
        } catch (IOException gone) {
            System.err.println(gone);
        }
        asked.add(END);
    }

    private static synchronized void tell(JSONObject what) {
        System.out.println(MARK + what);
        System.out.flush();
    }

    /** What a manifest and the person would have given: the version of the Play services, leave to see where it is. */
    private static void equip(Application application) {
        ShadowApplication leave = Shadow.extract(application);
        leave.grantPermissions(
                Manifest.permission.ACCESS_FINE_LOCATION, Manifest.permission.ACCESS_BACKGROUND_LOCATION);
        ShadowPackageManager packages = Shadow.extract(application.getPackageManager());
        PackageInfo info = packages.getInternalMutablePackageInfo(application.getPackageName());
        Bundle metaData = new Bundle();
        metaData.putInt("com.google.android.gms.version", 12451000);
        // By reflection: javac cannot read Robolectric's instrumented ApplicationInfo.
        ReflectionHelpers.setField((Object) ReflectionHelpers.getField(info, "applicationInfo"), "metaData", metaData);
        ProcessLifecycleOwner.Companion.init$lifecycle_process(application);
    }

    private static void copy(Path from, Path to) throws IOException {
        List<Path> files;
        try (Stream<Path> all = Files.walk(from)) {
            files = all.filter(Files::isRegularFile).toList();
        }
        for (Path file : files) {
            Path target = to.resolve(from.relativize(file).toString());
            Files.createDirectories(target.getParent());
            Files.copy(file, target, StandardCopyOption.REPLACE_EXISTING);
        }
    }
}
