// SPDX-License-Identifier: Apache-2.0
package mqadmin;

import com.alibaba.fastjson2.JSONObject;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * What the commands are asked about: topics, groups, messages and offsets, the same on every server, and clients that
 * stay connected until this program is killed. What differs between two servers (ids of messages and clients) is
 * written to the file of facts, which is there when everything is ready.
 */
final class State {
    private static final long DEADLINE_MS = 60_000;
    private static final String BROKER = "broker-a";

    private final String nameserver;
    private final String broker;
    private final DefaultMQAdminExt admin = new DefaultMQAdminExt();
    private final JSONObject facts = new JSONObject();

    private State(String nameserver, String broker) {
        this.nameserver = nameserver;
        this.broker = broker;
    }

    static void prepare(String nameserver, String broker, String file) throws Exception {
        State state = new State(nameserver, broker);
        state.admin.setNamesrvAddr(nameserver);
        state.admin.setInstanceName("state");
        state.admin.start();
        state.topics();
        state.messages();
        state.offline();
        state.live();
        state.deadLetter();
        state.traced(); // traces differ in length, so nothing that comes later lies at the same place on every server
        state.admin.shutdown(); // or it becomes one more client when its heartbeat is due
        Path unfinished = Path.of(file + ".new");
        Files.writeString(unfinished, state.facts.toJSONString());
        Files.move(unfinished, Path.of(file), StandardCopyOption.ATOMIC_MOVE);
        Thread.currentThread().join(); // until it is killed
    }

    private void topics() throws Exception {
        topic("T_normal", 4, false, Map.of());
        topic("T_live", 2, false, Map.of());
        topic("T_quiet", 3, false, Map.of());
        topic("T_many", 40, false, Map.of());
        topic("T_delay", 1, false, Map.of("+message.type", "DELAY"));
        topic("T_fifo", 2, false, Map.of("+message.type", "FIFO"));
        topic("T_order", 2, true, Map.of());
        topic("T_traced", 1, false, Map.of());
        topic("T_dead", 1, false, Map.of());
        topic("T_sent", 1, false, Map.of());
        topic("DefaultCluster_broker-a", 1, false, Map.of());
        admin.createOrUpdateOrderConf("T_order", BROKER + ":2", true);
        admin.createAndUpdateKvConfig("NS_state", "key", "value");
    }

    private void topic(String name, int queues, boolean isOrdered, Map<String, String> attributes) throws Exception {
        TopicConfig config = new TopicConfig(name, queues, queues);
        config.setOrder(isOrdered);
        config.setAttributes(attributes);
        admin.createAndUpdateTopicConfig(broker, config);
        await("the route of " + name, () -> isKnown(name));
    }

    private boolean isKnown(String topic) {
        try {
            return admin.examineTopicRouteInfo(topic) != null;
        } catch (Exception unknown) {
            return false;
        }
    }

    private DefaultMQProducer producer(String group, String instance) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(group);
        producer.setNamesrvAddr(nameserver);
        producer.setInstanceName(instance);
        producer.start();
        return producer;
    }

    private SendResult send(DefaultMQProducer producer, String topic, int queue, String key, int delayLevel) throws Exception {
        int number = Integer.parseInt(key.replaceAll("[^0-9]", ""));
        Message message = new Message(topic, "Tag" + number % 3, key, ("body of " + key).getBytes(StandardCharsets.UTF_8));
        message.putUserProperty("number", String.valueOf(number));
        message.setDelayTimeLevel(delayLevel);
        SendResult sent = producer.send(message, new MessageQueue(topic, BROKER, queue));
        facts.put("id." + key, sent.getMsgId());
        facts.put("offsetid." + key, sent.getOffsetMsgId());
        return sent;
    }

    /** The producer stays. */
    private void messages() throws Exception {
        DefaultMQProducer producer = producer("PG_live", "live-producer");
        for (int i = 0; i < 12; i++) {
            send(producer, "T_normal", i % 4, "n" + i, 0);
            if (i == 5) {
                Thread.sleep(20);
                facts.put("between", System.currentTimeMillis());
                Thread.sleep(20);
            }
        }
        for (int i = 0; i < 6; i++) {
            send(producer, "T_live", i % 2, "l" + i, 0);
            send(producer, "T_fifo", i % 2, "f" + i, 0);
        }
        for (int i = 0; i < 40; i++) {
            send(producer, "T_many", i, "m" + i, 0);
        }
        send(producer, "T_delay", 0, "d0", 18);
        send(producer, "T_dead", 0, "x0", 0);
        MQClientInstance client = producer.getDefaultMQProducerImpl().getMqClientFactory();
        facts.put("client.producer", client.getClientId());
        client.sendHeartbeatToAllBrokerWithLock();
        Thread.sleep(20);
        facts.put("end", System.currentTimeMillis());
    }

    private void group(String name) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(name);
        admin.createAndUpdateSubscriptionGroupConfig(broker, config);
    }

    /** Groups without members: one that lags, one that is at the end, one that has read nothing. */
    private void offline() throws Exception {
        group("CG_unused");
        group("CG_lag");
        group("CG_ahead");
        offsets("CG_lag", "T_normal", 1, 0, 2, 3);
        offsets("CG_ahead", "T_normal", 3, 3, 3, 3);
        offsets("CG_lag", "T_many", 1, 0);
    }

    private void offsets(String group, String topic, long... offsets) throws Exception {
        for (int queue = 0; queue < offsets.length; queue++) {
            admin.updateConsumeOffset(broker, group, new MessageQueue(topic, BROKER, queue), offsets[queue]);
        }
    }

    private DefaultMQPushConsumer consumer(String group, String instance) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(nameserver);
        consumer.setInstanceName(instance);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(2);
        consumer.setConsumeThreadMax(2);
        return consumer;
    }

    private void start(DefaultMQPushConsumer consumer, String fact, AtomicInteger seen, int count) throws Exception {
        consumer.start();
        MQClientInstance client = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory();
        facts.put("client." + fact, client.getClientId());
        await("what " + consumer.getConsumerGroup() + " consumes", () -> {
            client.sendHeartbeatToAllBrokerWithLock(); // the first one is sometimes lost, the next comes after 30 s
            return seen.get() == count;
        });
    }

    private void caughtUp(DefaultMQPushConsumer consumer) throws Exception {
        await("the offsets of " + consumer.getConsumerGroup(), () -> {
            consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            return lag(consumer.getConsumerGroup()) == 0;
        });
        // The topic of its retries came into being with it; it looks for its queues every 20 s.
        MQClientInstance client = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory();
        await("its retry topic", () -> {
            client.updateTopicRouteInfoFromNameServer();
            client.rebalanceImmediately();
            consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            return place(consumer, new MessageQueue(MixAll.getRetryTopic(consumer.getConsumerGroup()), BROKER, 0)) == 0;
        });
    }

    /** Where a consumer is, as far as it knows; it moves with each pull that comes back, one without messages too. */
    private static long place(DefaultMQPushConsumer consumer, MessageQueue queue) {
        return consumer.getDefaultMQPushConsumerImpl().getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_MEMORY);
    }

    /** Members that have consumed everything, each of another kind. */
    private void live() throws Exception {
        AtomicInteger all = new AtomicInteger();
        DefaultMQPushConsumer plain = consumer("CG_live", "live-consumer");
        plain.subscribe("T_live", "*");
        plain.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            all.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        start(plain, "live", all, 6);

        AtomicInteger ordered = new AtomicInteger();
        DefaultMQPushConsumer orderly = consumer("CG_orderly", "orderly-consumer");
        orderly.subscribe("T_fifo", "Tag1 || Tag2");
        orderly.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            ordered.addAndGet(messages.size());
            return ConsumeOrderlyStatus.SUCCESS;
        });
        start(orderly, "orderly", ordered, 4);

        AtomicInteger told = new AtomicInteger();
        DefaultMQPushConsumer broadcast = consumer("CG_broadcast", "broadcast-consumer");
        broadcast.setMessageModel(MessageModel.BROADCASTING);
        broadcast.subscribe("T_live", "Tag1");
        broadcast.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            told.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        start(broadcast, "broadcast", told, 2);
        await("the end of both queues", () -> place(broadcast, new MessageQueue("T_live", BROKER, 0)) == 3
            && place(broadcast, new MessageQueue("T_live", BROKER, 1)) == 3);
        caughtUp(plain);
        caughtUp(orderly);
    }

    private long lag(String group) throws Exception {
        ConsumeStats stats = admin.examineConsumeStats(group);
        return stats.getOffsetTable().isEmpty() ? -1 : stats.computeTotalDiff();
    }

    /** A message whose sending and consuming are traced. */
    private void traced() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("PG_traced");
        producer.setEnableTrace(true);
        producer.setNamesrvAddr(nameserver);
        producer.setInstanceName("traced-producer");
        producer.start();
        String id = send(producer, "T_traced", 0, "t0", 0).getMsgId();
        producer.shutdown();
        AtomicInteger seen = new AtomicInteger();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("CG_traced");
        consumer.setEnableTrace(true);
        consumer.setNamesrvAddr(nameserver);
        consumer.setInstanceName("traced-consumer");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe("T_traced", "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            seen.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        start(consumer, "traced", seen, 1);
        caughtUp(consumer);
        leave(consumer);
        await("three traces", () -> traces(id) == 3);
    }

    private int traces(String id) {
        try {
            List<String> found = new ArrayList<>();
            admin.queryMessage("RMQ_SYS_TRACE_TOPIC", id, 64, 0, Long.MAX_VALUE).getMessageList()
                .forEach(m -> found.addAll(List.of(new String(m.getBody(), StandardCharsets.UTF_8).split("\u0002"))));
            return (int) found.stream().filter(record -> record.contains(id)).count();
        } catch (Exception none) {
            return 0;
        }
    }

    /** The second heartbeat of a client comes after a second; one that overtakes its farewell makes it a member for ever. */
    private void leave(DefaultMQPushConsumer consumer) throws Exception {
        Thread.sleep(1_500);
        consumer.shutdown();
        await(consumer.getConsumerGroup() + " to be offline", () -> {
            try {
                admin.examineConsumerConnectionInfo(consumer.getConsumerGroup());
                return false;
            } catch (MQBrokerException offline) {
                return true;
            }
        });
    }

    /** A group that refused a message once and is offline since. */
    private void deadLetter() throws Exception {
        AtomicInteger seen = new AtomicInteger();
        DefaultMQPushConsumer consumer = consumer("CG_dead", "dead-consumer");
        consumer.setMaxReconsumeTimes(0);
        consumer.subscribe("T_dead", "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            seen.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        start(consumer, "dead", seen, 1);
        String topic = MixAll.getDLQTopic("CG_dead");
        await("the dead letter", () -> isKnown(topic) && admin.maxOffset(new MessageQueue(topic, BROKER, 0)) == 1);
        caughtUp(consumer);
        leave(consumer);
    }

    private static void await(String what, Callable<Boolean> probe) throws Exception {
        long began = System.currentTimeMillis();
        while (!probe.call()) {
            if (System.currentTimeMillis() > began + DEADLINE_MS) {
                throw new IllegalStateException("waited " + DEADLINE_MS + " ms for: " + what);
            }
            Thread.sleep(20);
        }
        System.err.printf("%s: %d ms%n", what, System.currentTimeMillis() - began);
    }
}
