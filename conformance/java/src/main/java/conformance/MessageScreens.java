// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.trace.TraceView;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.body.ConsumeMessageDirectlyResult;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.apache.rocketmq.tools.admin.api.MessageTrack;

/** What the dashboard's screens about messages, dead letters and traces call, in the way they call it. */
final class MessageScreens {
    private MessageScreens() {
    }

    static void message(Stage s) throws Exception {
        DefaultMQAdminExt admin = s.admin();
        String topic = s.name("Looked");
        DefaultMQProducer producer = s.producer("PG_looked");
        s.createTopic(producer, "Looked", 2, Map.of());
        List<SendResult> sent = s.fill(producer, "Looked", 2, 0, 4);
        List<String> consumed = Collections.synchronizedList(new ArrayList<>());
        DefaultMQPushConsumer consumer = s.push("CG_looked");
        consumer.subscribe(topic, "T0");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(m -> consumed.add(Stage.text(m)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        s.start(consumer);
        s.await("two messages", () -> consumed.size() == 2);

        DefaultMQPullConsumer reader = s.pull("CG_looked_reader");
        for (int queue = 0; queue < 2; queue++) {
            MessageQueue of = s.queue("Looked", queue);
            long begin = reader.searchOffset(of, 0);
            s.say("by time, queue %d from %d: %s", queue, begin, s.readAll(reader, of).stream().map(Stage::text).toList());
        }
        s.await("the key in the index", () -> keyed(admin, topic, "k2").size() == 1);
        s.say("by key: %s", described(keyed(admin, topic, "k2").get(0)));
        s.say("no such key: %d", keyed(admin, topic, "none").size());
        MessageExt byId = admin.queryMessage(null, topic, sent.get(3).getMsgId());
        s.say("by its unique key: %s", described(byId));
        s.say("by its offset id: %s", described(admin.queryMessage(null, topic, sent.get(3).getOffsetMsgId())));
        s.say("no such id: %s", Screens.refusal(() -> admin.queryMessage(null, topic, "7F00000100002A9F000000000000FFFF")).startsWith("code"));

        s.await("the place of the group", () -> {
            consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            return admin.examineConsumeStats(consumer.getConsumerGroup(), topic).getOffsetTable().values().stream().allMatch(o -> o.getConsumerOffset() >= 1);
        });
        tracks(s, admin, "one that it wants", admin.queryMessage(null, topic, sent.get(0).getMsgId()));
        tracks(s, admin, "one that it does not want", admin.queryMessage(null, topic, sent.get(1).getMsgId()));
        consumed.clear();
        String client = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        ConsumeMessageDirectlyResult result = admin.consumeMessageDirectly(consumer.getConsumerGroup(), client, topic, sent.get(3).getMsgId());
        s.say("consumed directly: %s, %s", result.getConsumeResult(), consumed);
        s.say("by nobody: %s", Screens.refusal(() -> admin.consumeMessageDirectly(consumer.getConsumerGroup(), "nobody", topic, sent.get(3).getMsgId())));
    }

    private static List<MessageExt> keyed(DefaultMQAdminExt admin, String topic, String key) throws Exception {
        try {
            QueryResult result = admin.queryMessage(topic, key, 64, 0, System.currentTimeMillis() + 60_000);
            return result.getMessageList();
        } catch (MQClientException none) {
            return List.of();
        }
    }

    private static String described(MessageExt m) {
        return String.format("%s in queue %d at %d, tag %s, keys %s, born and stored %s", Stage.text(m), m.getQueueId(), m.getQueueOffset(), m.getTags(),
            m.getKeys(), m.getBornTimestamp() > 0 && m.getStoreTimestamp() > 0);
    }

    private static void tracks(Stage s, DefaultMQAdminExt admin, String what, MessageExt message) throws Exception {
        for (MessageTrack track : admin.messageTrackDetail(message)) {
            s.say("%s: %s %s %s", what, track.getConsumerGroup(), track.getTrackType(), track.getExceptionDesc());
        }
    }

    static void deadLetters(Stage s) throws Exception {
        DefaultMQAdminExt admin = s.admin();
        DefaultMQProducer producer = s.producer("PG_refused");
        SendResult sent = producer.send(s.message("Refused", "A", "k-refused", "refused"), s.queue("Refused", 0));
        AtomicBoolean isMended = new AtomicBoolean();
        List<String> consumed = Collections.synchronizedList(new ArrayList<>());
        DefaultMQPushConsumer consumer = s.push("CG_refused");
        consumer.setMaxReconsumeTimes(0);
        consumer.subscribe(s.name("Refused"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(m -> consumed.add(Stage.text(m) + " of " + m.getTopic()));
            return isMended.get() ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        s.start(consumer);
        String group = consumer.getConsumerGroup();
        String topic = MixAll.getDLQTopic(group);
        s.await("the dead letter", () -> Screens.refusal(() -> admin.examineTopicRouteInfo(topic)).startsWith("answered")
            && admin.maxOffset(new MessageQueue(topic, Stage.BROKER, 0)) == 1);
        s.await("its unique key in the index", () -> found(admin, topic, sent.getMsgId()) != null);
        MessageExt letter = found(admin, topic, sent.getMsgId());
        s.say("letter: %s, of %s, original id told %s", described(letter), letter.getProperty("RETRY_TOPIC"),
            sent.getMsgId().equals(letter.getMsgId()) || sent.getMsgId().equals(letter.getProperty("ORIGIN_MESSAGE_ID")));
        s.say("topics: listed %s, among users' topics %s", admin.fetchAllTopicList().getTopicList().contains(topic),
            admin.getUserTopicConfig(Screens.broker(admin), false, 15_000).getTopicConfigTable().containsKey(topic));
        isMended.set(true);
        consumed.clear();
        String client = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        s.say("sent again: %s, %s", admin.consumeMessageDirectly(group, client, topic, letter.getMsgId()).getConsumeResult(), consumed);
    }

    private static MessageExt found(DefaultMQAdminExt admin, String topic, String id) throws Exception {
        try {
            return admin.queryMessage(null, topic, id);
        } catch (MQClientException | MQBrokerException none) {
            return null;
        }
    }

    static void trace(Stage s) throws Exception {
        DefaultMQAdminExt admin = s.admin();
        DefaultMQProducer producer = s.producer("PG_traced", true);
        String id = producer.send(s.message("Traced", "A", "traced-key", "traced"), s.queue("Traced", 0)).getMsgId();
        DefaultMQPushConsumer consumer = s.push("CG_screen_trace");
        consumer.setEnableTrace(true);
        consumer.subscribe(s.name("Traced"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        s.start(consumer);
        s.await("all of its traces", () -> views(admin, id).size() == 3);
        views(admin, id).stream().map(view -> String.format("%s: %s, topic %s, group %s, tags %s, keys %s, %s", view.getMsgType(), view.getStatus(),
            view.getTopic(), view.getGroupName(), view.getTags(), view.getKeys(), view.getTimeStamp() > 0 && view.getCostTime() >= 0)).sorted().forEach(s::say);
        s.say("by key: %s", keyed(admin, "RMQ_SYS_TRACE_TOPIC", "traced-key").isEmpty());
    }

    private static List<TraceView> views(DefaultMQAdminExt admin, String id) throws Exception {
        List<TraceView> views = new ArrayList<>();
        for (MessageExt message : keyed(admin, "RMQ_SYS_TRACE_TOPIC", id)) {
            views.addAll(TraceView.decodeFromTraceTransData(id, message));
        }
        return views;
    }
}
