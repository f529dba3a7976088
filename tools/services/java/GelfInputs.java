import com.codahale.metrics.MetricRegistry;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.datatype.joda.JodaModule;
import io.netty.channel.EventLoopGroup;
import java.io.FileOutputStream;
import java.security.Security;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Executors;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.graylog2.configuration.TLSProtocolsConfiguration;
import org.graylog2.inputs.codecs.GelfChunkAggregator;
import org.graylog2.inputs.codecs.GelfCodec;
import org.graylog2.inputs.transports.NettyTransportConfiguration;
import org.graylog2.inputs.transports.TcpTransport;
import org.graylog2.inputs.transports.UdpTransport;
import org.graylog2.inputs.transports.netty.EventLoopGroupFactory;
import org.graylog2.plugin.LocalMetricRegistry;
import org.graylog2.plugin.MessageFactory;
import org.graylog2.plugin.configuration.Configuration;
import org.graylog2.plugin.inputs.MessageInput;
import org.graylog2.plugin.inputs.transports.NettyTransport;
import org.graylog2.plugin.inputs.util.ThroughputCounter;
import org.graylog2.plugin.journal.RawMessage;

/**
 * Graylog's own GELF inputs and decoder, and a file of JSON lines in the place of its journal and its index.
 *
 * Arguments: the file, the folder with certificates, then the ports of UDP, TCP, TLS and mutual TLS.
 */
public class GelfInputs {
    private static final ObjectMapper JSON =
        new ObjectMapper().registerModule(new JodaModule()).disable(SerializationFeature.WRITE_DATES_AS_TIMESTAMPS);

    private final FileOutputStream file;
    private final GelfCodec codec;
    private final MetricRegistry metrics = new MetricRegistry();
    private final NettyTransportConfiguration netty = new NettyTransportConfiguration("nio", "jdk", 1);
    private final EventLoopGroupFactory groups = new EventLoopGroupFactory(netty);
    private final EventLoopGroup group = groups.create(1, metrics, "inputs");

    private GelfInputs(String path) throws Exception {
        file = new FileOutputStream(path, true);
        var factory = Class.forName("org.graylog2.plugin.DefaultMessageFactory").getDeclaredConstructor();
        factory.setAccessible(true);
        var chunks = new GelfChunkAggregator(Executors.newSingleThreadScheduledExecutor(), metrics);
        codec = new GelfCodec(settings(0), chunks, (MessageFactory) factory.newInstance());
    }

    public static void main(String[] given) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        var inputs = new GelfInputs(given[0]);
        inputs.launch(inputs.udp(settings(Integer.parseInt(given[2]))));
        inputs.launch(inputs.tcp(settings(Integer.parseInt(given[3]))));
        inputs.launch(inputs.tcp(secured(settings(Integer.parseInt(given[4])), given[1], false)));
        inputs.launch(inputs.tcp(secured(settings(Integer.parseInt(given[5])), given[1], true)));
        System.out.println("ready");
        Thread.currentThread().join();
    }

    /** Which fields an input's form has in Graylog's pages. */
    private static class Form extends MessageInput.Config {
        Form() {
            super(new TcpTransport.Config(), new GelfCodec.Config());
        }
    }

    private NettyTransport udp(Configuration settings) {
        return new UdpTransport(settings, groups, netty, new ThroughputCounter(group), new LocalMetricRegistry());
    }

    private NettyTransport tcp(Configuration settings) {
        return new TcpTransport(
            settings, group, groups, netty, new ThroughputCounter(group), new LocalMetricRegistry(), new TLSProtocolsConfiguration());
    }

    private void launch(NettyTransport transport) throws Exception {
        transport.setMessageAggregator(codec.getAggregator());
        transport.launch(new MessageInput(metrics, settings(0), transport, new LocalMetricRegistry(), codec, new Form(), null, null) {
            @Override
            public String getName() {
                return "gelf";
            }

            @Override
            public void processRawMessage(RawMessage raw) {
                keep(raw);
            }
        });
    }

    private synchronized void keep(RawMessage raw) {
        try {
            var message = codec.decode(raw);
            if (message == null) return;
            file.write(JSON.writeValueAsBytes(message.getFields()));
            file.write('\n');
        } catch (Throwable refused) {
            System.out.println("refused: " + refused);
        }
    }

    private static Configuration settings(int port) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bind_address", "127.0.0.1");
        settings.put("port", port);
        settings.put("number_worker_threads", 1);
        settings.put("recv_buffer_size", 4194304);
        settings.put("use_null_delimiter", true);
        settings.put("max_message_size", 2097152);
        return new Configuration(settings);
    }

    private static Configuration secured(Configuration settings, String folder, boolean mutual) {
        settings.setBoolean("tls_enable", true);
        settings.setString("tls_cert_file", folder + "/server.pem");
        settings.setString("tls_key_file", folder + "/server-key.pem");
        settings.setString("tls_client_auth", mutual ? "required" : "disabled");
        settings.setString("tls_client_auth_cert_file", folder + "/ca.pem");
        return settings;
    }
}
