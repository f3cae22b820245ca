// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages with a delivery time of their own; one of them is taken back. */
final class Timers {
    private static final String TOPIC = "Timers";

    private Timers() {
    }

    interface Timed {
        void set(Message message);
    }

    static void timers(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_timers");
        send(s, producer, "ordinary", message -> { });
        long start = System.currentTimeMillis();
        SendResult gone = send(s, producer, "gone", message -> message.setDelayTimeSec(6));
        s.say("a handle %s, in queue %d", gone.getRecallHandle() != null, gone.getMessageQueue().getQueueId());
        send(s, producer, "deliver at", message -> message.setDeliverTimeMs(start + 2_300));
        send(s, producer, "after milliseconds", message -> message.setDelayTimeMs(4_100));
        send(s, producer, "after seconds", message -> message.setDelayTimeSec(7));
        send(s, producer, "over", message -> message.setDeliverTimeMs(start - 60_000));
        refused(s, producer, "years away", message -> message.setDeliverTimeMs(start + 3 * 365L * 86_400_000));
        s.say("taken back %s", gone.getTransactionId().equals(
            producer.recallMessage(s.name(TOPIC), gone.getRecallHandle())));
        s.await("five messages", () -> producer.maxOffset(s.queue(TOPIC, 0)) == 5);
        DefaultMQPullConsumer reader = s.pull("CG_timers");
        List<String> order = new ArrayList<>();
        for (MessageExt message : s.readAll(reader, s.queue(TOPIC, 0))) {
            order.add(Stage.text(message));
            String asked = message.getProperty("TIMER_OUT_MS");
            boolean early = asked != null && message.getStoreTimestamp() < Long.parseLong(asked);
            s.say("%s: early %s, real topic kept %s", Stage.text(message), early,
                message.getProperty("REAL_TOPIC") != null);
        }
        s.say("%s", order);
        try {
            producer.recallMessage(s.name(TOPIC), gone.getRecallHandle());
            s.say("taken back too late");
        } catch (MQBrokerException refusal) {
            s.say("too late: code %d", refusal.getResponseCode());
        }
    }

    private static SendResult send(Stage s, DefaultMQProducer producer, String body, Timed timed) throws Exception {
        Message message = s.message(TOPIC, "A", "k", body);
        timed.set(message);
        SendResult result = producer.send(message, s.queue(TOPIC, 0));
        s.say("%s: %s", body, result.getSendStatus());
        return result;
    }

    private static void refused(Stage s, DefaultMQProducer producer, String body, Timed timed) throws Exception {
        try {
            send(s, producer, body, timed);
        } catch (MQBrokerException refusal) {
            s.say("%s: code %d", body, refusal.getResponseCode());
        }
    }
}
