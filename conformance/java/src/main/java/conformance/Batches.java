// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Topics of batch queues: a batch is kept as one record, which the client takes apart. */
final class Batches {
    private Batches() {
    }

    static void batches(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_batches");
        s.createTopic(producer, "Batched", 2, Map.of("+queue.type", "BatchCQ"));
        MessageQueue queue = s.queue("Batched", 0);
        told(s, producer.send(batch(s, "Batched", "a", "b", "c"), queue));
        told(s, producer.send(batch(s, "Batched", "d", "e"), queue));
        told(s, producer.send(batch(s, "Batched", "f"), queue));
        s.await("all in the queue", () -> producer.maxOffset(queue) == 6);
        s.say("offsets %d to %d, by time %d and %d", producer.minOffset(queue), producer.maxOffset(queue),
            producer.searchOffset(queue, 0), producer.searchOffset(queue, System.currentTimeMillis() + 60_000));

        DefaultMQPullConsumer reader = s.pull("CG_batches");
        s.say("all %s", texts(s.readAll(reader, queue)));
        for (int offset = 0; offset < 6; offset++) {
            pulled(s, "one from " + offset, reader.pull(queue, "*", offset, 1));
        }
        pulled(s, "four from 1", reader.pull(queue, "*", 1, 4));
        pulled(s, "five from 0", reader.pull(queue, "*", 0, 5));
        pulled(s, "by a tag", reader.pull(queue, "A", 0, 32));
        pulled(s, "by another tag", reader.pull(queue, "none", 0, 32));
        pulled(s, "behind the end", reader.pull(queue, "*", 7, 32));
        MessageExt inside = s.readAll(reader, queue).get(1);
        s.say("one inside: tags=%s keys=%s flag=%d", inside.getTags(), inside.getKeys(), inside.getSysFlag());

        Consuming.Seen seen = new Consuming.Seen();
        Consuming.collect(s, "CG_batches_push", "Batched", "*", seen);
        s.await("all pushed", () -> seen.distinct() == 6);
        s.say("pushed %s", seen.bodies());

        MessageQueue mixed = s.queue("Batched", 1);
        told(s, producer.send(s.message("Batched", "A", "k", "by itself"), mixed));
        told(s, producer.send(batch(s, "Batched", "g", "h"), mixed));
        s.await("the end of both", () -> producer.maxOffset(mixed) == 3);

        refused(s, producer, "Batched");
        producer.send(s.message("Unbatched", "A", "k", "first"), s.queue("Unbatched", 0));
        refused(s, producer, "Unbatched");
    }

    private static void refused(Stage s, DefaultMQProducer producer, String topic) throws Exception {
        Message message = s.message(topic, "A", "k", "no batch");
        MessageAccessor.putProperty(message, "INNER_NUM", "2");
        try {
            producer.send(message, s.queue(topic, 0));
            s.say("a message that says it is two, to %s: taken", topic);
        } catch (MQBrokerException refused) {
            s.say("a message that says it is two, to %s: %d", topic, refused.getResponseCode());
        }
    }

    private static List<Message> batch(Stage s, String topic, String... bodies) {
        return List.of(bodies).stream().map(body -> s.message(topic, "A", "key-" + body, body)).toList();
    }

    private static void told(Stage s, SendResult result) {
        s.say("told %s queue=%d offset=%d ids=%d/%d", result.getSendStatus(), result.getMessageQueue().getQueueId(),
            result.getQueueOffset(), result.getMsgId().split(",").length, result.getOffsetMsgId().split(",").length);
    }

    private static void pulled(Stage s, String what, PullResult result) {
        s.say("%s: %s %s next=%d", what, result.getPullStatus(), texts(result.getMsgFoundList()), result.getNextBeginOffset());
    }

    private static List<String> texts(List<MessageExt> messages) {
        return messages == null ? List.of() : messages.stream().map(m -> m.getQueueOffset() + "=" + Stage.text(m)).toList();
    }
}
