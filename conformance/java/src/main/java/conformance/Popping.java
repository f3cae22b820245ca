// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.SerializeType;

/** The push consumer by leases: what is acknowledged, what takes longer than its lease, and what is given back. */
final class Popping {
    private static final long LEASE_MS = 6_000;

    private Popping() {
    }

    static void pop(Stage s) throws Exception {
        if (RemotingCommand.getSerializeTypeConfigInThisServer() == SerializeType.ROCKETMQ) {
            // A compact header has 16 bits for the code of a request; that of a pop needs 18.
            s.say("cannot be asked for in a compact header");
            return;
        }
        DefaultMQProducer producer = s.producer("PG_pop");
        for (int i = 0; i < 8; i++) {
            producer.send(s.message("Pop", "A", "k" + i, "good " + i), s.queue("Pop", i % 4));
        }
        producer.send(s.message("Pop", "A", "k-later", "later"), s.queue("Pop", 0));
        producer.send(s.message("Pop", "A", "k-stuck", "stuck"), s.queue("Pop", 1));
        producer.send(s.message("Pop", "B", "k-other", "of another tag"), s.queue("Pop", 2));
        byPop(s, producer, "CG_pop", "Pop");

        Map<String, List<String>> deliveries = new TreeMap<>();
        CountDownLatch isBack = new CountDownLatch(1);
        DefaultMQPushConsumer consumer = s.push("CG_pop");
        consumer.setClientRebalance(false);
        consumer.setPopInvisibleTime(LEASE_MS);
        consumer.subscribe(s.name("Pop"), "A");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            MessageExt m = messages.get(0);
            String body = Stage.text(m);
            int delivery;
            synchronized (deliveries) {
                List<String> seen = deliveries.computeIfAbsent(body, any -> new ArrayList<>());
                delivery = seen.size();
                seen.add(String.format("%d of the topic %s, leased %s", m.getReconsumeTimes(), m.getTopic().equals(s.name("Pop")),
                    m.getProperty(MessageConst.PROPERTY_POP_CK) != null));
            }
            if (delivery == 0 && body.equals("later")) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            if (delivery == 0 && body.equals("stuck")) {
                awaitQuietly(isBack);
            } else if (body.equals("stuck")) {
                isBack.countDown();
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        s.start(consumer);
        s.await("everything, and two of it twice", () -> {
            synchronized (deliveries) {
                return deliveries.values().stream().mapToInt(List::size).sum() == 12;
            }
        });
        // What comes later is behind everything that could still come again.
        producer.send(s.message("Pop", "A", "k-last", "last"), s.queue("Pop", 3));
        s.await("the last", () -> {
            synchronized (deliveries) {
                return deliveries.containsKey("last");
            }
        });
        synchronized (deliveries) {
            deliveries.forEach((body, seen) -> s.say("%s: %s", body, seen));
        }
    }

    private static void byPop(Stage s, DefaultMQProducer producer, String group, String topic) throws Exception {
        MQClientInstance client = producer.getDefaultMQProducerImpl().getMqClientFactory();
        String address = client.findBrokerAddressInPublish(Stage.BROKER);
        client.getMQClientAPIImpl().setMessageRequestMode(address, s.name(topic), s.name(group), MessageRequestMode.POP, 0, 15_000);
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await(Stage.DEADLINE_MS, TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
