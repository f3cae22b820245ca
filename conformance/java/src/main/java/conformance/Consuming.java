// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/** Push consumers: what arrives, how often and in which order. */
final class Consuming {
    private Consuming() {
    }

    /** How often each body arrived. */
    static final class Seen {
        private final Map<String, Integer> times = new ConcurrentHashMap<>();

        void add(List<MessageExt> messages) {
            messages.forEach(m -> times.merge(Stage.text(m), 1, Integer::sum));
        }

        void add(String body) {
            times.merge(body, 1, Integer::sum);
        }

        int distinct() {
            return times.size();
        }

        /** Whether all of `count` messages of a fill, from the given one on, arrived. */
        boolean has(int from, int count) {
            return IntStream.range(from, from + count).allMatch(i -> times.containsKey("body " + i));
        }

        long repeated() {
            return times.values().stream().filter(n -> n > 1).count();
        }

        String bodies() {
            return Stage.sorted(times.keySet());
        }
    }

    /** Starts a consumer that takes everything `filter` lets through, and remembers it in `seen`. */
    static DefaultMQPushConsumer collect(Stage s, String group, String topic, String filter, Seen seen) throws Exception {
        DefaultMQPushConsumer consumer = s.push(group);
        consumer.subscribe(s.name(topic), filter);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            seen.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        s.start(consumer);
        return consumer;
    }

    static void concurrently(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_push");
        s.fill(producer, "Push", 4, 0, 100);
        Seen seen = new Seen();
        DefaultMQPushConsumer consumer = collect(s, "CG_push", "Push", "*", seen);
        s.await("the first 100", () -> seen.distinct() == 100);
        s.fill(producer, "Push", 4, 100, 100);
        s.await("the next 100", () -> seen.distinct() == 200);
        s.say("%d messages, %d of them more than once", seen.distinct(), seen.repeated());
        consumer.shutdown();

        DefaultMQPullConsumer reader = s.pull("CG_push");
        for (int id = 0; id < 4; id++) {
            int queue = id;
            s.await("the offset of queue " + id, () -> reader.fetchConsumeOffset(s.queue("Push", queue), true) == 50);
            s.say("queue %d: offset %d", id, reader.fetchConsumeOffset(s.queue("Push", id), true));
        }
    }

    static void orderly(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_orderly");
        for (int i = 0; i < 120; i++) {
            String key = "o" + i % 5;
            producer.send(s.message("Orderly", "A", key, key + "#" + i / 5), new SelectMessageQueueByHash(), key);
        }
        Map<Integer, List<String>> taken = new TreeMap<>();
        AtomicBoolean again = new AtomicBoolean(true);
        DefaultMQPushConsumer consumer = s.push("CG_orderly");
        consumer.subscribe(s.name("Orderly"), "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            if (Stage.text(messages.get(0)).equals("o2#10") && again.getAndSet(false)) {
                context.setSuspendCurrentQueueTimeMillis(50);
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            synchronized (taken) {
                messages.forEach(m -> taken.computeIfAbsent(m.getQueueId(), id -> new ArrayList<>()).add(Stage.text(m)));
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        s.start(consumer);
        s.await("120 messages in order", () -> {
            synchronized (taken) {
                return taken.values().stream().mapToInt(List::size).sum() >= 120;
            }
        });
        s.say("one message was put off once: %s", !again.get());
        synchronized (taken) {
            taken.forEach((id, bodies) -> s.say("queue %d: %s", id, bodies));
        }
    }

    static void tags(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_tags");
        // "Aa" and "BB" have the same hash: the broker cannot tell them apart, the client must.
        String[] tags = {"A", "B", "C", "Aa", "BB", null, "标签"};
        for (int i = 0; i < 28; i++) {
            producer.send(s.message("Tags", tags[i % 7], "k" + i, tags[i % 7] + "-" + i / 7), s.queue("Tags", i % 4));
        }
        Map<String, Seen> byFilter = new TreeMap<>();
        for (String filter : new String[] {"A", "A || B", "Aa", "标签", "*", "A||Aa||Z"}) {
            Seen seen = new Seen();
            byFilter.put(filter, seen);
            collect(s, "CG_tags_" + Integer.toHexString(filter.hashCode()), "Tags", filter, seen);
        }
        Map<String, Integer> expected = Map.of("A", 4, "A || B", 8, "Aa", 4, "标签", 4, "*", 28, "A||Aa||Z", 8);
        for (Map.Entry<String, Seen> entry : byFilter.entrySet()) {
            s.await(entry.getKey(), () -> entry.getValue().distinct() >= expected.get(entry.getKey()));
            s.say("%s: %s", entry.getKey(), entry.getValue().bodies());
        }
    }

    static void broadcast(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_broadcast");
        s.fill(producer, "Broadcast", 4, 0, 20);
        List<Seen> all = List.of(new Seen(), new Seen());
        for (Seen seen : all) {
            DefaultMQPushConsumer consumer = s.push("CG_broadcast");
            // The client keeps broadcast members of one process apart by instance name only.
            consumer.setInstanceName(s.name("broadcast") + all.indexOf(seen));
            consumer.setMessageModel(MessageModel.BROADCASTING);
            consumer.subscribe(s.name("Broadcast"), "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                seen.add(messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            s.start(consumer);
        }
        for (Seen seen : all) {
            s.await("all messages at each member", () -> seen.distinct() == 20);
            s.say("a member saw %d, %d of them more than once", seen.distinct(), seen.repeated());
        }
        s.fill(producer, "Broadcast", 4, 20, 20);
        for (Seen seen : all) {
            s.await("the new messages at each member", () -> seen.distinct() == 40);
        }
        s.say("both saw the next ones too");
    }
}
