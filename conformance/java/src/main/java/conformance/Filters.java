// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;

/** Messages chosen by their properties, with SQL expressions. */
final class Filters {
    /** Each is a message with these properties, in one queue. */
    private static final List<Map<String, String>> MESSAGES = List.of(
        Map.of("a", "5"), Map.of("a", "5.0"), Map.of("a", "abc"), Map.of("b", "x"), Map.of("a", "true"),
        Map.of("a", "-3", "b", "7"), Map.of("a", "10", "b", "9"), Map.of("a", "3000000000"), Map.of("a", "it's"));

    private static final List<String> EXPRESSIONS = List.of(
        "a = 5", "a > 4", "a <> 'abc'", "a IS NULL", "a BETWEEN 1 AND 6 OR b IS NOT NULL", "NOT a", "a",
        "a NOT IN ('5', 'it''s')", "b > a", "a >= 5.0", "5 <> missing", "a NOT CONTAINS 's' AND TAGS = 'T1'", "a = 05 x");

    private Filters() {
    }

    static void sql(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_sql");
        for (int i = 0; i < MESSAGES.size(); i++) {
            producer.send(message(s, "m" + i, "T" + i % 2, MESSAGES.get(i)), s.queue("Sql", 0));
        }
        push(s, producer);
        lite(s);
        pull(s);
        for (String wrong : List.of("a >", "a = NULL", "5", "a BETWEEN 6 AND 5", "a != 5")) {
            s.say("subscribe to %s: %s", wrong, refused(s, wrong));
        }
    }

    private static void push(Stage s, DefaultMQProducer producer) throws Exception {
        Map<String, List<String>> taken = new LinkedHashMap<>();
        for (String expression : EXPRESSIONS.subList(0, 6)) {
            List<String> bodies = new ArrayList<>();
            taken.put(expression, bodies);
            DefaultMQPushConsumer consumer = s.push("CG_sql_push_" + taken.size());
            // The last message is wanted by all, so that it is known when there will be no more.
            consumer.subscribe(s.name("Sql"), MessageSelector.bySql("(" + expression + ") OR last = 'yes'"));
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                synchronized (bodies) {
                    messages.forEach(m -> bodies.add(Stage.text(m)));
                }
                return ConsumeOrderlyStatus.SUCCESS;
            });
            s.start(consumer);
        }
        List<String> first = taken.get("a = 5");
        s.await("the first message", () -> size(first) > 0);
        producer.send(message(s, "unwanted", "T1", Map.of("c", "1")), s.queue("Sql", 0));
        producer.send(message(s, "last", "T1", Map.of("last", "yes")), s.queue("Sql", 0));
        for (Map.Entry<String, List<String>> entry : taken.entrySet()) {
            List<String> bodies = entry.getValue();
            s.await("the last message for " + entry.getKey(), () -> {
                synchronized (bodies) {
                    return bodies.contains("last");
                }
            });
            synchronized (bodies) {
                s.say("push %s: %s", entry.getKey(), bodies);
            }
        }
    }

    private static void lite(Stage s) throws Exception {
        DefaultLitePullConsumer consumer = s.litePull("CG_sql_lite");
        consumer.subscribe(s.name("Sql"), MessageSelector.bySql("a > 4 OR last IS NOT NULL"));
        consumer.start();
        List<String> bodies = new ArrayList<>();
        s.await("the last message", () -> {
            consumer.poll(200).forEach(m -> bodies.add(Stage.text(m)));
            return bodies.contains("last");
        });
        s.say("lite pull: %s", bodies);
    }

    private static void pull(Stage s) throws Exception {
        DefaultMQPullConsumer consumer = s.pull("CG_sql_pull");
        // The client wants to know the broker's version first, which comes with the answer to a heartbeat.
        s.await("the broker's version", () -> {
            try {
                return consumer.pull(s.queue("Sql", 0), MessageSelector.bySql("a = 5"), 0, 32) != null;
            } catch (MQClientException unknown) {
                return false;
            }
        });
        for (String expression : EXPRESSIONS) {
            s.say("pull %s: %s", expression, pulled(consumer.pull(s.queue("Sql", 0), MessageSelector.bySql(expression), 0, 32)));
        }
    }

    private static String refused(Stage s, String expression) throws Exception {
        DefaultMQPushConsumer consumer = s.push("CG_sql_wrong");
        consumer.subscribe(s.name("Sql"), MessageSelector.bySql(expression));
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> ConsumeOrderlyStatus.SUCCESS);
        try {
            consumer.start();
            return "started";
        } catch (MQClientException failure) {
            return "code " + failure.getResponseCode();
        } finally {
            consumer.shutdown();
        }
    }

    private static int size(List<String> bodies) {
        synchronized (bodies) {
            return bodies.size();
        }
    }

    private static Message message(Stage s, String body, String tag, Map<String, String> properties) {
        Message message = s.message("Sql", tag, body, body);
        properties.forEach(message::putUserProperty);
        return message;
    }

    private static String pulled(PullResult r) {
        List<String> bodies = new ArrayList<>();
        if (r.getMsgFoundList() != null) {
            r.getMsgFoundList().forEach(m -> bodies.add(Stage.text(m)));
        }
        return String.format("%s next=%d %s", r.getPullStatus(), r.getNextBeginOffset(), bodies);
    }
}
