import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.LoggerContext;
import ch.qos.logback.classic.PatternLayout;
import ch.qos.logback.classic.encoder.PatternLayoutEncoder;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.classic.spi.LoggingEvent;
import ch.qos.logback.classic.util.LogbackMDCAdapter;
import ch.qos.logback.core.rolling.RollingFileAppender;
import ch.qos.logback.core.rolling.SizeAndTimeBasedRollingPolicy;
import ch.qos.logback.core.util.FileSize;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Base64;

/**
 * Logback itself, for comparison.
 *
 * `lines`: for each line of input (pattern, milliseconds, level, logger, thread, message; texts in base64; tabs
 * between) its layout, in base64. `roll FOLDER-AND-PATTERN BYTES HISTORY COUNT LENGTH`: writes so many messages of
 * that length into files rolled by size and time.
 */
public class RealLogback {
    private static final LoggerContext CONTEXT = new LoggerContext();

    public static void main(String[] given) throws Exception {
        CONTEXT.setMDCAdapter(new LogbackMDCAdapter());
        if (given[0].equals("lines")) {
            lines();
        } else {
            roll(given[1], Long.parseLong(given[2]), Integer.parseInt(given[3]), Integer.parseInt(given[4]),
                Integer.parseInt(given[5]));
        }
    }

    private static void lines() throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line; (line = input.readLine()) != null; ) {
            String[] parts = line.split("\t");
            var layout = new PatternLayout();
            layout.setContext(CONTEXT);
            layout.setPattern(text(parts[0]));
            layout.start();
            var event = event(text(parts[3]), Level.toLevel(parts[2]), text(parts[5]));
            event.setInstant(Instant.ofEpochMilli(Long.parseLong(parts[1])));
            event.setThreadName(text(parts[4]));
            byte[] laid = layout.doLayout(event).getBytes(StandardCharsets.UTF_8);
            System.out.println(Base64.getEncoder().encodeToString(laid));
        }
    }

    private static void roll(String pattern, long bytes, int history, int count, int length) throws Exception {
        var encoder = new PatternLayoutEncoder();
        encoder.setContext(CONTEXT);
        encoder.setPattern("%m%n");
        encoder.start();
        var appender = new RollingFileAppender<ILoggingEvent>();
        appender.setContext(CONTEXT);
        appender.setEncoder(encoder);
        var policy = new SizeAndTimeBasedRollingPolicy<ILoggingEvent>();
        policy.setContext(CONTEXT);
        policy.setFileNamePattern(pattern);
        policy.setMaxFileSize(new FileSize(bytes));
        policy.setMaxHistory(history);
        policy.setCleanHistoryOnStart(history > 0);
        policy.setParent(appender);
        policy.start();
        appender.setRollingPolicy(policy);
        appender.start();
        for (int n = 0; n < count; n++) {
            appender.doAppend(event("x", Level.INFO, "m".repeat(length)));
        }
        Thread.sleep(history > 0 ? 500 : 0); // it cleans in a thread of its own
        appender.stop();
        CONTEXT.stop();
    }

    private static LoggingEvent event(String logger, Level level, String message) {
        return new LoggingEvent("x", CONTEXT.getLogger(logger), level, message, null, null);
    }

    private static String text(String encoded) {
        return new String(Base64.getDecoder().decode(encoded), StandardCharsets.UTF_8);
    }
}
