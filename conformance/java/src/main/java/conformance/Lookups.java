// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Finding messages by key and id, and offsets by time. */
final class Lookups {
    private Lookups() {
    }

    static void query(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_query");
        List<SendResult> sent = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            sent.add(producer.send(s.message("Query", "A", "one-" + i + " shared five-" + i / 5, "body " + i), s.queue("Query", i % 4)));
        }
        s.await("the last key in the index", () -> byKey(s, producer, "one-19", 32).equals("[body 19]"));
        s.say("one-7: %s", byKey(s, producer, "one-7", 32));
        s.say("five-2: %s", byKey(s, producer, "five-2", 32));
        s.say("shared, 32 at most: %s", byKey(s, producer, "shared", 32));
        s.say("shared, 5 at most: %d found", byKey(s, producer, "shared", 5).split(",").length);
        s.say("absent: %s", byKey(s, producer, "absent", 32));
        s.say("key of another topic: %s", found(() -> producer.queryMessage(s.name("QueryOther"), "one-7", 32, 0, Long.MAX_VALUE)));
        s.say("before the first message: %s", found(() -> producer.queryMessage(s.name("Query"), "one-7", 32, 0, 1000)));

        s.say("by offset id: %s", Stage.text(producer.viewMessage(s.name("Query"), sent.get(3).getOffsetMsgId())));
        s.say("by unique id: %s", Stage.text(producer.viewMessage(s.name("Query"), sent.get(4).getMsgId())));
        MessageExt view = producer.viewMessage(s.name("Query"), sent.get(5).getOffsetMsgId());
        s.say("viewed: topic=%s queue=%d at=%d keys=%s tags=%s unique=%s", view.getTopic(), view.getQueueId(), view.getQueueOffset(),
            view.getKeys(), view.getTags(), sent.get(5).getMsgId().equals(view.getMsgId()));
        String nowhere = sent.get(3).getOffsetMsgId().substring(0, 16) + "00000000FFFFFFF0";
        s.say("an offset id that names no message: %s", found(() -> new QueryResult(0, List.of(producer.viewMessage(s.name("Query"), nowhere)))));
    }

    interface Query {
        QueryResult run() throws Exception;
    }

    private static String byKey(Stage s, DefaultMQProducer producer, String key, int max) {
        return found(() -> producer.queryMessage(s.name("Query"), key, max, 0, Long.MAX_VALUE));
    }

    private static String found(Query query) {
        try {
            return Stage.sorted(query.run().getMessageList().stream().map(Stage::text).toList());
        } catch (MQClientException none) {
            return "code " + none.getResponseCode();
        } catch (Exception failure) {
            return failure.getClass().getSimpleName();
        }
    }

    static void offsets(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_offsets");
        s.fill(producer, "Offsets", 2, 0, 40);
        DefaultMQPullConsumer reader = s.pull("CG_offsets");
        for (int id = 0; id < 4; id++) {
            MessageQueue queue = s.queue("Offsets", id);
            s.say("queue %d: min=%d max=%d", id, producer.minOffset(queue), producer.maxOffset(queue));
        }
        MessageQueue queue = s.queue("Offsets", 0);
        List<MessageExt> stored = s.readAll(reader, queue);
        boolean exact = true;
        for (MessageExt m : stored) {
            long first = stored.stream().filter(o -> o.getStoreTimestamp() >= m.getStoreTimestamp()).findFirst().orElseThrow().getQueueOffset();
            exact &= producer.searchOffset(queue, m.getStoreTimestamp()) == first;
        }
        long begin = stored.get(0).getStoreTimestamp();
        long end = stored.get(stored.size() - 1).getStoreTimestamp();
        s.say("time of each message leads to it: %s", exact);
        s.say("an hour before: %d, one ms after the last: %d, an hour after: %d", producer.searchOffset(queue, begin - 3_600_000),
            producer.searchOffset(queue, end + 1), producer.searchOffset(queue, end + 3_600_000));
        s.say("earliest store time is the first message's: %s", producer.earliestMsgStoreTime(queue) == begin);
        s.say("earliest store time of an empty queue: %d", producer.earliestMsgStoreTime(s.queue("Offsets", 3)));
        s.say("search in an empty queue: %d", producer.searchOffset(s.queue("Offsets", 3), begin));
        MessageQueue unknown = s.queue("OffsetsUnknown", 0);
        s.say("unknown topic: min=%d max=%d search=%d", producer.minOffset(unknown), producer.maxOffset(unknown), producer.searchOffset(unknown, begin));
    }
}
