// SPDX-License-Identifier: Apache-2.0
package conformance;

import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/** A group that is set back, and forward, while it consumes. */
final class Resets {
    private static final int CALL_TIMEOUT_MS = 15_000;

    private Resets() {
    }

    static void running(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_reset");
        s.fill(producer, "Reset", 4, 0, 40);
        Consuming.Seen seen = new Consuming.Seen();
        DefaultMQPushConsumer consumer = Consuming.collect(s, "CG_reset", "Reset", "*", seen);
        s.await("the first 40", () -> seen.distinct() == 40);
        s.say("consumed %d, %d of them again", seen.distinct(), seen.repeated());
        int queues = reset(producer, s, consumer, 0);
        // The pulls that wait at the end are woken by messages, on both servers.
        s.fill(producer, "Reset", 4, 40, 4);
        s.await("all 40 again", () -> seen.has(0, 44) && seen.repeated() >= 40);
        s.say("to the beginning, %d queues: all came again", queues);
        s.fill(producer, "Reset", 4, 44, 4);
        s.await("and what is new", () -> seen.has(44, 4));
        s.say("and it goes on from there");
    }

    private static int reset(DefaultMQProducer producer, Stage s, DefaultMQPushConsumer consumer, long timestamp) throws Exception {
        MQClientAPIImpl api = producer.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl();
        String address = producer.getDefaultMQProducerImpl().getMqClientFactory().findBrokerAddressInPublish(Stage.BROKER);
        return api.invokeBrokerToResetOffset(address, s.name("Reset"), consumer.getConsumerGroup(), timestamp, true, CALL_TIMEOUT_MS).size();
    }
}
