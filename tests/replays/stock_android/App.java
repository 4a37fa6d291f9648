import static java.util.Map.entry;

import android.app.Activity;
import android.app.Application;
import android.util.Log;
import com.emarsys.Emarsys;
import com.emarsys.config.EmarsysConfig;
import com.emarsys.core.api.result.CompletionListener;
import com.emarsys.core.api.result.ResultListener;
import com.emarsys.core.api.result.Try;
import com.emarsys.inapp.ui.InlineInAppView;
import com.emarsys.mobileengage.api.inbox.InboxResult;
import com.emarsys.mobileengage.api.inbox.Message;
import com.emarsys.mobileengage.di.MobileEngageComponentKt;
import com.emarsys.mobileengage.geofence.model.GeofenceGroup;
import com.emarsys.mobileengage.geofence.model.GeofenceResponse;
import java.util.Map;
import java.util.function.Consumer;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;
import org.robolectric.Robolectric;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.shadow.api.Shadow;
import org.robolectric.shadows.ShadowLog;
import org.robolectric.shadows.ShadowWebView;
import org.robolectric.util.ReflectionHelpers;

/** The app on the phone: what it asks of the SDK. Whatever the SDK says is passed on, and judged elsewhere. */
final class App {
    /** Where an answer goes. */
    interface Reply {
        void done(Throwable error, Object value);

        /** As the SDK wants it, for what has no value. */
        default CompletionListener listener() {
            return error -> done(error, null);
        }
    }

    /** call: the number of the request, its name, then its arguments. */
    private interface Deed {
        void done(JSONArray call, Reply reply) throws JSONException;
    }

    private final Application application;
    private final Consumer<String> onEvent;
    private final Tray tray;
    private final Map<String, Deed> deeds;
    private ActivityController<Activity> activity;
    private InlineInAppView inline;

    App(Application application, Consumer<String> onEvent) {
        this.application = application;
        this.onEvent = onEvent;
        tray = new Tray(application);
        deeds = Map.ofEntries(
                entry("setup", this::setUp),
                entry("open", this::open),
                entry("close", this::close),
                entry("set_contact", (call, reply) ->
                        Emarsys.setContact(call.getInt(2), call.getString(3), reply.listener())),
                entry("set_authenticated_contact", (call, reply) ->
                        Emarsys.setAuthenticatedContact(call.getInt(2), call.getString(3), reply.listener())),
                entry("clear_contact", (call, reply) -> Emarsys.clearContact(reply.listener())),
                entry("set_push_token", (call, reply) ->
                        Emarsys.getPush().setPushToken(call.getString(2), reply.listener())),
                entry("clear_push_token", (call, reply) -> Emarsys.getPush().clearPushToken(reply.listener())),
                entry("track", (call, reply) ->
                        Emarsys.trackCustomEvent(call.getString(2), Map.of("sku", "1"), reply.listener())),
                entry("change_application_code", (call, reply) ->
                        Emarsys.getConfig().changeApplicationCode(call.getString(2), reply.listener())),
                entry("client_id", (call, reply) -> reply.done(null, Emarsys.getConfig().getClientId())),
                entry("inbox", App::fetchInbox),
                entry("add_tag", (call, reply) -> Emarsys.getMessageInbox()
                        .addTag(call.getString(2), call.getString(3), reply.listener())),
                entry("remove_tag", (call, reply) -> Emarsys.getMessageInbox()
                        .removeTag(call.getString(2), call.getString(3), reply.listener())),
                entry("inline", this::showInline),
                entry("inline_html", (call, reply) -> reply.done(null, inlineHtml())),
                entry("enable_geofences", (call, reply) -> Emarsys.getGeofence().enable(reply.listener())),
                entry("geofence_groups", (call, reply) -> reply.done(null, geofenceGroups())),
                entry("push", (call, reply) -> tray.arrive(call.getJSONObject(2), reply)),
                entry("notifications", (call, reply) -> reply.done(null, tray.shown())),
                entry("tap", (call, reply) -> {
                    tray.tap();
                    reply.done(null, null);
                }),
                entry("crashes", (call, reply) -> reply.done(null, crashes())));
    }

    void ask(String name, JSONArray call, Reply reply) throws JSONException {
        deeds.get(name).done(call, reply);
    }

    private void setUp(JSONArray call, Reply reply) throws JSONException {
        Emarsys.setup(new EmarsysConfig.Builder()
                .application(application)
                .applicationCode(call.getString(2))
                .enableVerboseConsoleLogging()
                .build());
        Emarsys.getOnEventAction().setOnEventActionEventHandler((context, event, payload) -> onEvent.accept(event));
        reply.done(null, null);
    }

    private void open(JSONArray call, Reply reply) {
        activity = Robolectric.buildActivity(Activity.class).setup();
        reply.done(null, null);
    }

    private void close(JSONArray call, Reply reply) {
        activity.pause().stop().destroy();
        reply.done(null, null);
    }

    private static void fetchInbox(JSONArray call, Reply reply) {
        ResultListener<Try<InboxResult>> onResult = result -> {
            JSONArray found = new JSONArray();
            if (result.getResult() != null) {
                for (Message message : result.getResult().getMessages()) {
                    Object tags = message.getTags() == null ? JSONObject.NULL : new JSONArray(message.getTags());
                    found.put(new JSONObject(
                            Map.of("id", message.getId(), "title", message.getTitle(), "tags", tags)));
                }
            }
            reply.done(result.getErrorCause(), found);
        };
        Emarsys.getMessageInbox().fetchMessages(onResult);
    }

    /** Answered at once: a page is never done loading here. */
    private void showInline(JSONArray call, Reply reply) throws JSONException {
        inline = new InlineInAppView(activity.get());
        inline.loadInApp(call.getString(2));
        reply.done(null, null);
    }

    /** What the in-line view was given to show so far, null for nothing. */
    private String inlineHtml() {
        ShadowWebView page = Shadow.extract(inline.getChildAt(0));
        ShadowWebView.LoadDataWithBaseURL shown = page.getLastLoadDataWithBaseURL();
        return shown == null ? null : shown.data;
    }

    /** The ids of what the SDK made of its last answer: it tells an app only of those that Play services watch. */
    private static JSONArray geofenceGroups() {
        Object response = ReflectionHelpers.getField(
                MobileEngageComponentKt.mobileEngage().getGeofenceInternal(), "geofenceResponse");
        JSONArray found = new JSONArray();
        if (response != null) {
            for (GeofenceGroup group : ((GeofenceResponse) response).getGeofenceGroups()) {
                found.put(group.getId());
            }
        }
        return found;
    }

    /** What the SDK caught within itself and logged, which no callback tells. */
    private static JSONArray crashes() {
        JSONArray found = new JSONArray();
        for (ShadowLog.LogItem item : ShadowLog.getLogsForTag("Emarsys SDK")) {
            if (item.type == Log.ERROR && item.throwable != null) {
                found.put(item.throwable.toString());
            }
        }
        return found;
    }
}
