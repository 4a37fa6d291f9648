import android.app.Application;
import android.app.Notification;
import android.content.Context;
import com.emarsys.NotificationOpenedActivity;
import com.emarsys.mobileengage.di.MobileEngageComponent;
import com.emarsys.mobileengage.di.MobileEngageComponentKt;
import com.emarsys.mobileengage.service.MessagingServiceUtils;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;
import org.robolectric.Robolectric;
import org.robolectric.shadow.api.Shadow;
import org.robolectric.shadows.ShadowNotificationManager;
import org.robolectric.shadows.ShadowPendingIntent;

/** Notifications: pushes go in as Firebase's service hands them to the SDK, and are seen and tapped as a person does. */
final class Tray {
    private final Application application;

    Tray(Application application) {
        this.application = application;
    }

    /** On the SDK's own thread, as its service for Firebase does. data: of the message, all texts. */
    void arrive(JSONObject data, App.Reply reply) throws JSONException {
        Map<String, String> message = new HashMap<>();
        for (Iterator<String> keys = data.keys(); keys.hasNext(); ) {
            String key = keys.next();
            message.put(key, data.getString(key));
        }
        MobileEngageComponent parts = MobileEngageComponentKt.mobileEngage();
        parts.getConcurrentHandlerHolder().getCoreHandler().post(() -> {
            boolean isOurs = MessagingServiceUtils.isMobileEngageNotification(message);
            RuntimeException unreadable = null;
            try {
                MessagingServiceUtils.handleMessage(application, message, parts.getDeviceInfo(),
                        parts.getFileDownloader(), parts.getSilentMessageActionCommandFactory(),
                        parts.getRemoteMessageMapperFactory());
            } catch (RuntimeException thrown) {
                unreadable = thrown;
            }
            reply.done(unreadable, isOurs);
        });
    }

    /** Title and text of each. */
    JSONArray shown() {
        JSONArray found = new JSONArray();
        for (Notification one : notifications()) {
            found.put(new JSONArray(List.of(
                    String.valueOf(one.extras.getCharSequence(Notification.EXTRA_TITLE)),
                    String.valueOf(one.extras.getCharSequence(Notification.EXTRA_TEXT)))));
        }
        return found;
    }

    /** The newest. */
    void tap() {
        List<Notification> all = notifications();
        ShadowPendingIntent intent = Shadow.extract(all.get(all.size() - 1).contentIntent);
        Robolectric.buildActivity(NotificationOpenedActivity.class, intent.getSavedIntent()).create();
    }

    private List<Notification> notifications() {
        ShadowNotificationManager manager =
                Shadow.extract(application.getSystemService(Context.NOTIFICATION_SERVICE));
        return manager.getAllNotifications();
    }
}
