// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages with a delay level, and with a priority. */
final class Delays {
    private Delays() {
    }

    static void delay(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_delay");
        producer.send(s.message("Delay", "A", "k", "at once"), s.queue("Delay", 0));
        for (int i = 0; i < 20; i++) {
            SendResult result = send(s, producer, 1 + i % 2, "level " + (1 + i % 2) + " number " + i / 2);
            if (i == 0) {
                s.say("told %s queue=%d recall=%s", result.getSendStatus(), result.getMessageQueue().getQueueId(), result.getRecallHandle());
            }
        }
        for (int none : new int[] {0, -1}) {
            send(s, producer, none, "level " + none);
        }
        s.await("all deliveries", () -> producer.maxOffset(s.queue("Delay", 0)) == 23);
        DefaultMQPullConsumer reader = s.pull("CG_delay");
        List<MessageExt> all = s.readAll(reader, s.queue("Delay", 0));
        Map<Integer, List<String>> byLevel = new TreeMap<>();
        int early = 0;
        for (MessageExt m : all) {
            byLevel.computeIfAbsent(m.getDelayTimeLevel(), level -> new ArrayList<>()).add(Stage.text(m));
            long took = m.getStoreTimestamp() - m.getBornTimestamp();
            // The level counts from when it was stored, which is not before it was born.
            early += took < (m.getDelayTimeLevel() == 1 ? 1000 : m.getDelayTimeLevel() == 2 ? 5000 : 0) ? 1 : 0;
        }
        byLevel.forEach((level, bodies) -> s.say("level %d, in order: %s", level, bodies));
        s.say("%d early", early);
        MessageExt last = all.get(all.size() - 1);
        s.say("a delivered one: tags=%s keys=%s real=%s/%s reconsumed=%d flag=%d", last.getTags(), last.getKeys(),
            s.name("Delay").equals(last.getProperty(MessageConst.PROPERTY_REAL_TOPIC)), last.getProperty(MessageConst.PROPERTY_REAL_QUEUE_ID),
            last.getReconsumeTimes(), last.getFlag());

        Consuming.Seen seen = new Consuming.Seen();
        Consuming.collect(s, "CG_delay_push", "Delay", "A", seen);
        s.await("all by their tag", () -> seen.distinct() == 23);
        s.say("pushed %s", seen.bodies());

        Message word = s.message("Delay", "A", "k", "never");
        word.getProperties().put(MessageConst.PROPERTY_DELAY_TIME_LEVEL, "soon");
        try {
            producer.send(word, s.queue("Delay", 0));
            s.say("a level that is no number: taken");
        } catch (MQBrokerException refused) {
            s.say("a level that is no number: %d", refused.getResponseCode());
        }
    }

    private static SendResult send(Stage s, DefaultMQProducer producer, int level, String body) throws Exception {
        Message message = s.message("Delay", "A", "k", body);
        message.setDelayTimeLevel(level);
        return producer.send(message, s.queue("Delay", 0));
    }

    static void priority(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_priority");
        producer.send(s.message("Priority", "A", "k", "first"), s.queue("Priority", 0));
        for (int priority : new int[] {0, 1, 2, 3, 9}) {
            Message message = s.message("Priority", "A", "k", "p" + priority);
            message.setPriority(priority);
            SendResult result = producer.send(message);
            s.say("priority %d goes to queue %d", priority, result.getMessageQueue().getQueueId());
        }
        DefaultMQPullConsumer reader = s.pull("CG_priority");
        for (int id = 0; id < 4; id++) {
            s.say("queue %d holds %s", id, s.readAll(reader, s.queue("Priority", id)).stream()
                .map(m -> Stage.text(m) + "/" + m.getPriority()).toList());
        }
    }
}
