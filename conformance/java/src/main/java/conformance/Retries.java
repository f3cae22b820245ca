// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Messages that cannot be consumed: when they come again, what they look like then, and where they end. */
final class Retries {
    private Retries() {
    }

    static void retry(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_retry");
        List<String> ids = new ArrayList<>();
        for (String body : new String[] {"good", "once", "always"}) {
            ids.add(producer.send(s.message("Retry", "A", "k-" + body, body), s.queue("Retry", 0)).getMsgId());
        }
        Map<String, List<String>> deliveries = new TreeMap<>();
        DefaultMQPushConsumer consumer = s.push("CG_retry");
        consumer.setMaxReconsumeTimes(2);
        consumer.subscribe(s.name("Retry"), "A");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            MessageExt m = messages.get(0);
            synchronized (deliveries) {
                deliveries.computeIfAbsent(Stage.text(m), body -> new ArrayList<>()).add(String.format("%d of %s retry=%s same id=%s",
                    m.getReconsumeTimes(), m.getTopic().equals(s.name("Retry")), s.name("Retry").equals(m.getProperty(MessageConst.PROPERTY_RETRY_TOPIC)),
                    ids.contains(m.getMsgId())));
            }
            boolean isFine = Stage.text(m).equals("good") || Stage.text(m).equals("once") && m.getReconsumeTimes() == 1;
            return isFine ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        s.start(consumer);
        MessageQueue dead = new MessageQueue(MixAll.getDLQTopic(consumer.getConsumerGroup()), Stage.BROKER, 0);
        DefaultMQPullConsumer reader = s.pull("CG_retry_reader");
        s.await("the dead letter", () -> ends(producer, dead) == 1);
        synchronized (deliveries) {
            deliveries.forEach((body, seen) -> s.say("%s: delivered %s", body, seen));
        }
        MessageQueue retry = new MessageQueue(MixAll.getRetryTopic(consumer.getConsumerGroup()), Stage.BROKER, 0);
        // Given back by several threads, so in any order.
        s.readAll(reader, retry).stream().map(m -> described(s, m)).sorted().forEach(line -> s.say("retry topic: %s", line));
        s.say("dead letter: %s", described(s, s.readAll(reader, dead).get(0)));

        MessageExt first = s.readAll(reader, s.queue("Retry", 0)).get(0);
        reader.sendMessageBack(first, -1, null, consumer.getConsumerGroup());
        s.await("one more", () -> ends(producer, dead) == 2);
        s.say("given back for good: %s", Stage.text(s.readAll(reader, dead).get(1)));
    }

    private static long ends(DefaultMQProducer producer, MessageQueue queue) {
        try {
            return producer.maxOffset(queue);
        } catch (Exception e) {
            // There is no such topic yet.
            return -1;
        }
    }

    /** All but ids and times. */
    private static String described(Stage s, MessageExt m) {
        Map<String, String> properties = new TreeMap<>(m.getProperties());
        boolean hasOrigin = properties.remove(MessageConst.PROPERTY_ORIGIN_MESSAGE_ID) != null;
        properties.remove(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX);
        properties.remove(MessageConst.PROPERTY_MIN_OFFSET);
        properties.remove(MessageConst.PROPERTY_MAX_OFFSET);
        properties.replaceAll((name, value) -> value.replace(s.name("Retry"), "Retry").replace(s.name("CG_retry"), "CG_retry"));
        return String.format("%s after %d, flags %d, origin %s, %s", Stage.text(m), m.getReconsumeTimes(), m.getSysFlag(), hasOrigin, properties);
    }
}
