import java.util.List;
import org.elasticsearch.xcontent.DeprecationHandler;
import org.elasticsearch.xcontent.NamedXContentRegistry;
import org.elasticsearch.xcontent.NamedXContentRegistry.Entry;
import org.elasticsearch.xcontent.ParseField;
import org.elasticsearch.xcontent.XContentParser;
import org.elasticsearch.xcontent.json.JsonXContent;
import org.elasticsearch.xpack.core.ilm.*;
import org.elasticsearch.xpack.core.ilm.action.PutLifecycleAction;

/** Reads lifecycle policies, one a line, as Elasticsearch's own REST handler does, and says which phases each has. */
public class ReadPolicy {
    public static void main(String[] arguments) throws Exception {
        NamedXContentRegistry registry = new NamedXContentRegistry(List.of(
            new Entry(LifecycleType.class, new ParseField(TimeseriesLifecycleType.TYPE), p -> TimeseriesLifecycleType.INSTANCE),
            new Entry(LifecycleAction.class, new ParseField(RolloverAction.NAME), RolloverAction::parse),
            new Entry(LifecycleAction.class, new ParseField(AllocateAction.NAME), AllocateAction::parse),
            new Entry(LifecycleAction.class, new ParseField(ShrinkAction.NAME), ShrinkAction::parse),
            new Entry(LifecycleAction.class, new ParseField(ForceMergeAction.NAME), ForceMergeAction::parse),
            new Entry(LifecycleAction.class, new ParseField(DeleteAction.NAME), DeleteAction::parse)));
        for (String body : new String(System.in.readAllBytes(), "UTF-8").split("\n")) {
            XContentParser parser =
                JsonXContent.jsonXContent.createParser(registry, DeprecationHandler.THROW_UNSUPPORTED_OPERATION, body);
            PutLifecycleAction.Request request = PutLifecycleAction.Request.parseRequest("it", parser);
            if (request.validate() != null) {
                throw request.validate();
            }
            request.getPolicy().getType().validate(request.getPolicy().getPhases().values());
            System.out.println(String.join(" ", request.getPolicy().getPhases().keySet()));
        }
    }
}
