// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** A compacted topic: of each key the newest message is kept, at its offset. */
final class Compacted {
    private static final int MESSAGES = 200;
    private static final int KEYS = 5;

    private Compacted() {
    }

    static void compacted(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_compacted");
        s.createTopic(producer, "Compacted", 1, Map.of("+cleanup.policy", "COMPACTION"));
        MessageQueue queue = s.queue("Compacted", 0);
        for (String key : new String[] {null, " "}) {
            try {
                producer.send(s.message("Compacted", "A", key, "no key"), queue);
                s.say("a message without a key: taken");
            } catch (MQBrokerException refused) {
                s.say("a message without a key: %d %s", refused.getResponseCode(), refused.getErrorMessage());
            }
        }
        for (int i = 0; i < MESSAGES; i++) {
            producer.send(s.message("Compacted", i % 2 == 0 ? "A" : "B", "k" + i % KEYS, "value " + i), queue);
        }
        s.await("all in the queue", () -> producer.maxOffset(queue) == MESSAGES);
        DefaultMQPullConsumer reader = s.pull("CG_compacted");
        s.await("what is old to go", () -> read(reader, queue).size() < MESSAGES / 4);
        List<MessageExt> kept = read(reader, queue);
        Map<String, String> newest = new TreeMap<>();
        long last = -1;
        for (MessageExt m : kept) {
            s.require(m.getQueueOffset() > last, "%d behind %d", m.getQueueOffset(), last);
            s.require(Stage.text(m).equals("value " + m.getQueueOffset()), "%s at %d", Stage.text(m), m.getQueueOffset());
            last = m.getQueueOffset();
            newest.put(m.getKeys(), Stage.text(m));
        }
        s.say("newest %s", newest);
        s.say("offsets %d to %d", producer.minOffset(queue), producer.maxOffset(queue));
        PullResult one = reader.pull(queue, "*", 0, 1);
        s.say("one from 0: %s, %d, its offset is %s", one.getPullStatus(), one.getMsgFoundList().size(),
            one.getMsgFoundList().get(0).getQueueOffset() > 0 ? "behind that" : "0");
        s.say("at the end: %s", reader.pull(queue, "*", MESSAGES, 32).getPullStatus());
        s.say("behind the end: %s", reader.pull(queue, "*", MESSAGES + 5, 32).getPullStatus());

        Consuming.Seen seen = new Consuming.Seen();
        Consuming.collect(s, "CG_compacted_push", "Compacted", "B", seen);
        s.await("the newest to be pushed", () -> seen.bodies().contains("value " + (MESSAGES - 1)));
        s.say("only those of the tag: %s", newest.values().stream().filter(body -> number(body) % 2 == 1).allMatch(seen.bodies()::contains));
        producer.send(s.message("Compacted", "B", "k9", "value " + MESSAGES), queue);
        producer.send(s.message("Compacted", "B", "k9", "value " + (MESSAGES + 1)), queue);
        s.await("what is new", () -> seen.bodies().contains("value " + (MESSAGES + 1)));
    }

    private static int number(String body) {
        return Integer.parseInt(body.substring("value ".length()));
    }

    private static List<MessageExt> read(DefaultMQPullConsumer reader, MessageQueue queue) throws Exception {
        List<MessageExt> messages = new ArrayList<>();
        long offset = 0;
        while (offset < MESSAGES) {
            PullResult result = reader.pull(queue, "*", offset, 32);
            if (result.getPullStatus() == PullStatus.FOUND) {
                messages.addAll(result.getMsgFoundList());
            }
            if (result.getNextBeginOffset() <= offset) {
                return messages;
            }
            offset = result.getNextBeginOffset();
        }
        return messages;
    }
}
