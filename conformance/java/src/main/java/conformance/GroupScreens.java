// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.admin.RollbackStats;
import org.apache.rocketmq.remoting.protocol.body.Connection;
import org.apache.rocketmq.remoting.protocol.body.ConsumerConnection;
import org.apache.rocketmq.remoting.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.remoting.protocol.body.ProducerInfo;
import org.apache.rocketmq.remoting.protocol.body.QueueTimeSpan;
import org.apache.rocketmq.remoting.protocol.heartbeat.SubscriptionData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What the dashboard's screens about consumers and producers call, in the way they call it. */
final class GroupScreens {
    private static final long PATIENCE_MS = 15_000;

    private GroupScreens() {
    }

    /** A consumer of a topic with two messages in each of its two queues; its place is saved. */
    private static DefaultMQPushConsumer consumer(Stage s, String topic, String group) throws Exception {
        DefaultMQProducer producer = s.producer("PG_" + topic);
        s.createTopic(producer, topic, 2, Map.of());
        s.fill(producer, topic, 2, 0, 4);
        Consuming.Seen seen = new Consuming.Seen();
        DefaultMQPushConsumer consumer = s.push(group);
        consumer.subscribe(s.name(topic), "T0 || T1 || T2");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            seen.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        s.start(consumer);
        s.await("the messages", () -> seen.distinct() == 4);
        return consumer;
    }

    static void consumer(Stage s) throws Exception {
        DefaultMQAdminExt admin = s.admin();
        String broker = Screens.broker(admin);
        DefaultMQPushConsumer consumer = consumer(s, "Watched", "CG_watched");
        String group = consumer.getConsumerGroup();
        String topic = s.name("Watched");
        s.await("its place to be saved", () -> {
            consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            ConsumeStats stats = admin.examineConsumeStats(group, topic);
            return !stats.getOffsetTable().isEmpty() && stats.computeTotalDiff() == 0;
        });
        s.say("in the list of groups: %s", admin.getAllSubscriptionGroup(broker, PATIENCE_MS).getSubscriptionGroupTable().containsKey(group));
        ConsumerConnection connection = admin.examineConsumerConnectionInfo(group);
        for (Connection one : connection.getConnectionSet()) {
            s.say("member: %s, version %d, address %s", one.getLanguage(), one.getVersion(), one.getClientAddr().startsWith("127.0.0.1:"));
        }
        s.say("%s %s %s", connection.getConsumeType(), connection.getMessageModel(), connection.getConsumeFromWhere());
        new TreeMap<>(connection.getSubscriptionTable()).forEach((name, data) -> s.say("subscribes to %s: %s", name, described(data)));
        s.say("asked about the topic: %s", described(admin.querySubscription(group, topic)));
        s.say("topics of the group %s, groups of the topic %s", Stage.sorted(admin.queryTopicsByConsumer(group).getTopicList()),
            Stage.sorted(admin.queryTopicConsumeByWho(topic).getGroupList()));
        progress(s, "progress", admin.examineConsumeStats(group, topic));

        String client = connection.getConnectionSet().iterator().next().getClientId();
        ConsumerRunningInfo running = admin.getConsumerRunningInfo(group, client, true);
        s.say("running: %s, orderly %s, %d queues of the topic, threads told %s", running.getProperties().getProperty("PROP_CONSUME_TYPE"),
            running.getProperties().getProperty("PROP_CONSUMEORDERLY"),
            running.getMqTable().keySet().stream().filter(queue -> queue.getTopic().equals(topic)).count(), running.getJstack().contains("main"));
        s.say("a client that is not there: %s; a group: %s, %s", Screens.refusal(() -> admin.getConsumerRunningInfo(group, "nobody", false)),
            Screens.refusal(() -> admin.examineConsumerConnectionInfo(s.name("CG_nobody"))),
            Screens.refusal(() -> admin.examineConsumeStats(s.name("CG_nobody"))));
        for (QueueTimeSpan span : admin.queryConsumeTimeSpan(topic, group)) {
            s.say("times of queue %d: %s", span.getMessageQueue().getQueueId(), span.getMinTimeStamp() <= span.getConsumeTimeStamp()
                && span.getConsumeTimeStamp() <= span.getMaxTimeStamp() && span.getDelayTime() >= 0);
        }
    }

    private static String described(SubscriptionData data) {
        return String.format("%s %s of type %s, tags %s", data.getTopic(), data.getSubString(), data.getExpressionType(), Stage.sorted(data.getTagsSet()));
    }

    private static void progress(Stage s, String what, ConsumeStats stats) {
        new TreeMap<>(stats.getOffsetTable()).forEach((queue, offset) ->
            s.say("%s of %s %d: %d of %d, in flight %d, of a time %s", what, queue.getTopic(), queue.getQueueId(), offset.getConsumerOffset(),
                offset.getBrokerOffset(), offset.getPullOffset() - offset.getConsumerOffset(), offset.getLastTimestamp() > 0));
    }

    static void settings(Stage s) throws Exception {
        DefaultMQAdminExt admin = s.admin();
        String broker = Screens.broker(admin);
        String group = s.name("CG_settings");
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        config.setRetryMaxTimes(3);
        config.setRetryQueueNums(2);
        config.setConsumeBroadcastEnable(false);
        config.setConsumeMessageOrderly(true);
        admin.createAndUpdateSubscriptionGroupConfig(broker, config);
        s.say("settings: %s", admin.examineSubscriptionGroupConfig(broker, group));
        config.setConsumeEnable(false);
        config.setWhichBrokerWhenConsumeSlowly(2);
        admin.createAndUpdateSubscriptionGroupConfig(broker, config);
        s.say("settings: %s", admin.getUserSubscriptionGroup(broker, PATIENCE_MS).getSubscriptionGroupTable().get(group));
        s.say("among users' groups: %s, TOOLS_CONSUMER %s", admin.getUserSubscriptionGroup(broker, PATIENCE_MS).getSubscriptionGroupTable().containsKey(group),
            admin.getUserSubscriptionGroup(broker, PATIENCE_MS).getSubscriptionGroupTable().containsKey("TOOLS_CONSUMER"));
        admin.deleteSubscriptionGroup(broker, group, true);
        admin.deleteTopicInBroker(Set.of(broker), "%RETRY%" + group);
        s.say("deleted: listed %s", admin.getAllSubscriptionGroup(broker, PATIENCE_MS).getSubscriptionGroupTable().containsKey(group));
        config.setGroupName("bad group");
        s.say("a bad name: %s", Screens.refusal(() -> {
            admin.createAndUpdateSubscriptionGroupConfig(broker, config);
            return null;
        }));
    }

    /** Resets, as the screen does them: by time, and by an older way when nobody is online. */
    static void offsets(Stage s) throws Exception {
        DefaultMQAdminExt admin = s.admin();
        String broker = Screens.broker(admin);
        String topic = s.name("Moved");
        String group = s.name("CG_moved");
        DefaultMQProducer producer = s.producer("PG_moved");
        s.createTopic(producer, "Moved", 2, Map.of());
        s.fill(producer, "Moved", 2, 0, 6);
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        admin.createAndUpdateSubscriptionGroupConfig(broker, config);
        for (int queue = 0; queue < 2; queue++) {
            admin.updateConsumeOffset(broker, group, s.queue("Moved", queue), 1);
        }
        progress(s, "at first", admin.examineConsumeStats(group, topic));
        reset(s, admin, "to the beginning", topic, group, 0);
        reset(s, admin, "to now", topic, group, System.currentTimeMillis());
        reset(s, admin, "to the end", topic, group, -1);
        progress(s, "then", admin.examineConsumeStats(group, topic));
        for (RollbackStats one : admin.resetOffsetByTimestampOld(group, topic, 0, true)) {
            s.say("the old way, queue %d: from %d of %d to %d", one.getQueueId(), one.getConsumerOffset(), one.getBrokerOffset(), one.getRollbackOffset());
        }
        admin.resetOffsetByQueueId(broker, group, topic, 1, 2);
        progress(s, "one queue", admin.examineConsumeStats(group, topic));
        s.say("copied, though it never had a member: %s", Screens.refusal(() -> {
            admin.cloneGroupOffset(group, s.name("CG_moved_too"), topic, true);
            return null;
        }));
        s.say("of a topic that is not there: %s", Screens.refusal(() -> admin.resetOffsetByTimestamp(s.name("None"), group, 0, true)));
    }

    private static void reset(Stage s, DefaultMQAdminExt admin, String what, String topic, String group, long time) throws Exception {
        try {
            Map<MessageQueue, Long> moved = admin.resetOffsetByTimestamp(topic, group, time, true);
            new TreeMap<>(moved).forEach((queue, offset) -> s.say("%s, queue %d: %d", what, queue.getQueueId(), offset));
        } catch (MQClientException refused) {
            s.say("%s: refused, offline %s", what, refused.getResponseCode() == ResponseCode.CONSUMER_NOT_ONLINE);
        }
    }

    static void producer(Stage s) throws Exception {
        DefaultMQAdminExt admin = s.admin();
        String broker = Screens.broker(admin);
        DefaultMQProducer producer = s.producer("PG_watched");
        producer.send(s.message("Produced", "A", "k", "body"), s.queue("Produced", 0));
        s.await("it to be known", () -> {
            producer.getDefaultMQProducerImpl().getMqClientFactory().sendHeartbeatToAllBrokerWithLock();
            return Screens.refusal(() -> admin.examineProducerConnectionInfo(producer.getProducerGroup(), s.name("Produced"))).startsWith("answered");
        });
        for (Connection one : admin.examineProducerConnectionInfo(producer.getProducerGroup(), s.name("Produced")).getConnectionSet()) {
            s.say("producer: %s, version %d, address %s", one.getLanguage(), one.getVersion(), one.getClientAddr().startsWith("127.0.0.1:"));
        }
        for (ProducerInfo one : admin.getAllProducerInfo(broker).getData().get(producer.getProducerGroup())) {
            s.say("among all: %s, version %d, of a time %s, id told %s", one.getLanguage(), one.getVersion(), one.getLastUpdateTimestamp() > 0,
                one.getClientId().equals(producer.buildMQClientId()));
        }
        s.say("nobody: %s", Screens.refusal(() -> admin.examineProducerConnectionInfo(s.name("PG_nobody"), s.name("Produced"))));
        s.say("a topic that is not there: %s", Screens.refusal(() -> admin.examineProducerConnectionInfo(producer.getProducerGroup(), s.name("None"))));
    }
}
