// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.constant.PermName;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.body.ConsumeMessageDirectlyResult;

/** Messages that cannot be consumed: when they come again, what they look like then, and where they end. */
final class Retries {
    private Retries() {
    }

    static void retry(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_retry");
        List<String> ids = new ArrayList<>();
        for (String body : new String[] {"good", "once", "always"}) {
            ids.add(producer.send(s.message("Retry", "A", "k-" + body, body), s.queue("Retry", 0)).getMsgId());
        }
        Map<String, List<String>> deliveries = new TreeMap<>();
        DefaultMQPushConsumer consumer = s.push("CG_retry");
        consumer.setMaxReconsumeTimes(2);
        consumer.subscribe(s.name("Retry"), "A");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            MessageExt m = messages.get(0);
            synchronized (deliveries) {
                deliveries.computeIfAbsent(Stage.text(m), body -> new ArrayList<>()).add(String.format("%d of %s retry=%s same id=%s",
                    m.getReconsumeTimes(), m.getTopic().equals(s.name("Retry")), s.name("Retry").equals(m.getProperty(MessageConst.PROPERTY_RETRY_TOPIC)),
                    ids.contains(m.getMsgId())));
            }
            boolean isFine = Stage.text(m).equals("good") || Stage.text(m).equals("once") && m.getReconsumeTimes() == 1;
            return isFine ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        s.start(consumer);
        MessageQueue dead = new MessageQueue(MixAll.getDLQTopic(consumer.getConsumerGroup()), Stage.BROKER, 0);
        DefaultMQPullConsumer reader = s.pull("CG_retry_reader");
        s.await("the dead letter", () -> ends(producer, dead) == 1);
        synchronized (deliveries) {
            deliveries.forEach((body, seen) -> s.say("%s: delivered %s", body, seen));
        }
        MessageQueue retry = new MessageQueue(MixAll.getRetryTopic(consumer.getConsumerGroup()), Stage.BROKER, 0);
        // Given back by several threads, so in any order.
        s.readAll(reader, retry).stream().map(m -> described(s, m)).sorted().forEach(line -> s.say("retry topic: %s", line));
        s.say("dead letter: %s", described(s, s.readAll(reader, dead).get(0)));

        MessageExt first = s.readAll(reader, s.queue("Retry", 0)).get(0);
        reader.sendMessageBack(first, -1, null, consumer.getConsumerGroup());
        s.await("one more", () -> ends(producer, dead) == 2);
        s.say("given back for good: %s", Stage.text(s.readAll(reader, dead).get(1)));
    }

    /** What operators do with dead letters: find one, look at it, and have it consumed again. */
    static void deadLetters(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_dead");
        Set<String> ids = new HashSet<>();
        for (String body : new String[] {"first", "second"}) {
            ids.add(producer.send(s.message("Dead", "A", "k-" + body, body), s.queue("Dead", 0)).getMsgId());
        }
        AtomicBoolean isMended = new AtomicBoolean();
        List<String> consumed = Collections.synchronizedList(new ArrayList<>());
        DefaultMQPushConsumer consumer = s.push("CG_dead");
        consumer.setMaxReconsumeTimes(0);
        consumer.subscribe(s.name("Dead"), "A");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            MessageExt m = messages.get(0);
            if (!isMended.get()) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            String topic = m.getTopic().replace(s.name("CG_dead"), "CG_dead").replace(s.name("Dead"), "Dead");
            consumed.add(String.format("%s as one of %s after %d, of those sent %s", Stage.text(m), topic, m.getReconsumeTimes(), ids.contains(m.getMsgId())));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        s.start(consumer);
        String group = consumer.getConsumerGroup();
        MessageQueue dead = new MessageQueue(MixAll.getDLQTopic(group), Stage.BROKER, 0);
        s.await("two dead letters", () -> ends(producer, dead) == 2);
        isMended.set(true);

        MQClientInstance admin = producer.getDefaultMQProducerImpl().getMqClientFactory();
        String broker = admin.findBrokerAddressInPublish(Stage.BROKER);
        DefaultMQPullConsumer reader = s.pull("CG_dead_reader");
        for (int perm : new int[] {0, PermName.PERM_WRITE, PermName.PERM_READ, PermName.PERM_READ | PermName.PERM_WRITE}) {
            TopicConfig config = admin.getMQClientAPIImpl().getTopicConfig(broker, dead.getTopic(), 5000);
            if (perm == 0) {
                s.say("their topic: queues %d and %d, permission %d", config.getReadQueueNums(), config.getWriteQueueNums(), config.getPerm());
                continue;
            }
            config.setPerm(perm);
            admin.getMQClientAPIImpl().createTopic(broker, "TBW102", config, 5000);
            s.say("with permission %d: %s", perm, read(s, reader, dead));
        }

        List<MessageExt> letters = s.readAll(reader, dead);
        letters.sort(Comparator.comparing(Stage::text));
        MessageExt first = letters.get(0);
        s.await("their unique keys in the index", () -> found(admin, dead.getTopic(), first.getMsgId()) != null);
        MessageExt found = found(admin, dead.getTopic(), first.getMsgId());
        s.say("by its unique key: %s", described(s, found).replace(s.name("Dead"), "Dead").replace(s.name("CG_dead"), "CG_dead"));
        String offsetId = ((MessageClientExt) found).getOffsetMsgId();
        String client = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        ConsumeMessageDirectlyResult result = admin.getMQClientAPIImpl()
            .consumeMessageDirectly(broker, group, client, dead.getTopic(), offsetId, 10_000);
        s.say("consumed directly: %s, %s", result.getConsumeResult(), consumed);

        consumed.clear();
        MessageExt second = letters.get(1);
        Message again = new Message(MixAll.getRetryTopic(group), second.getBody());
        MessageAccessor.setProperties(again, second.getProperties());
        MessageAccessor.clearProperty(again, MessageConst.PROPERTY_DELAY_TIME_LEVEL);
        producer.send(again);
        s.await("it to be consumed", () -> consumed.size() == 1);
        s.say("sent to the retry topic: %s", consumed);
        s.say("dead letters: %d", ends(producer, dead));
    }

    private static String read(Stage s, DefaultMQPullConsumer reader, MessageQueue queue) throws Exception {
        try {
            return s.readAll(reader, queue).size() + " read";
        } catch (MQBrokerException refused) {
            return "code " + refused.getResponseCode();
        }
    }

    private static MessageExt found(MQClientInstance admin, String topic, String uniqueKey) throws Exception {
        try {
            List<MessageExt> messages = admin.getMQAdminImpl().queryMessageByUniqKey(topic, uniqueKey, 32, 0, Long.MAX_VALUE).getMessageList();
            return messages.get(0);
        } catch (MQClientException none) {
            return null;
        }
    }

    /** The first levels of the default table, as a consumer sees them. */
    static void delays(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_retrydelays");
        long[] seconds = {1, 5};
        Map<String, Long> first = new ConcurrentHashMap<>();
        Map<String, Long> again = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = s.push("CG_retrydelays");
        consumer.subscribe(s.name("RetryDelays"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            String body = Stage.text(messages.get(0));
            if (messages.get(0).getReconsumeTimes() == 0) {
                context.setDelayLevelWhenNextConsume(body.equals("level 2") ? 2 : 1);
                first.put(body, System.currentTimeMillis());
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            again.put(body, System.currentTimeMillis());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        s.start(consumer);
        // The group's retry topic is new, and the client finds its queues some seconds later.
        producer.send(s.message("RetryDelays", "A", "k", "prime"), s.queue("RetryDelays", 0));
        s.await("the first that came again", () -> again.containsKey("prime"));
        for (int level = 1; level <= seconds.length; level++) {
            producer.send(s.message("RetryDelays", "A", "k" + level, "level " + level), s.queue("RetryDelays", 0));
        }
        s.await("both again", () -> again.size() == 1 + seconds.length);
        for (int level = 1; level <= seconds.length; level++) {
            long waited = again.get("level " + level) - first.get("level " + level);
            // A loaded machine may be late, but nothing comes early.
            s.say("level %d: not before %d s %b", level, seconds[level - 1], waited >= seconds[level - 1] * 1000 - 100);
        }
        s.say("the shorter delay first: %b", again.get("level 1") < again.get("level 2"));
    }

    private static long ends(DefaultMQProducer producer, MessageQueue queue) {
        try {
            return producer.maxOffset(queue);
        } catch (Exception e) {
            // There is no such topic yet.
            return -1;
        }
    }

    /** All but ids and times. */
    private static String described(Stage s, MessageExt m) {
        Map<String, String> properties = new TreeMap<>(m.getProperties());
        boolean hasOrigin = properties.remove(MessageConst.PROPERTY_ORIGIN_MESSAGE_ID) != null;
        properties.remove(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX);
        properties.remove(MessageConst.PROPERTY_MIN_OFFSET);
        properties.remove(MessageConst.PROPERTY_MAX_OFFSET);
        properties.replaceAll((name, value) -> value.replace(s.name("Retry"), "Retry").replace(s.name("CG_retry"), "CG_retry"));
        return String.format("%s after %d, flags %d, origin %s, %s", Stage.text(m), m.getReconsumeTimes(), m.getSysFlag(), hasOrigin, properties);
    }
}
