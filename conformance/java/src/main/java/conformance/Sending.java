// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageId;
import org.apache.rocketmq.common.utils.NetworkUtil;

/** The five ways to send, what the client is told, and what is stored. */
final class Sending {
    private Sending() {
    }

    static void send(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_send");
        s.say("sync %s", receipt(producer.send(s.message("Send", "A", "k", "one"), s.queue("Send", 0))));
        s.say("sync again %s", receipt(producer.send(s.message("Send", "A", "k", "two"), s.queue("Send", 0))));

        CompletableFuture<SendResult> answer = new CompletableFuture<>();
        producer.send(s.message("Send", "A", "k", "async"), s.queue("Send", 1), new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable failure) {
                answer.completeExceptionally(failure);
            }
        });
        s.say("async %s", receipt(answer.get(Stage.DEADLINE_MS, TimeUnit.MILLISECONDS)));

        for (int i = 0; i < 10; i++) {
            producer.sendOneway(s.message("Send", "A", "k", "oneway " + i), s.queue("Send", 2));
        }
        s.await("ten one-way messages", () -> producer.maxOffset(s.queue("Send", 2)) == 10);
        s.say("oneway: %d stored", producer.maxOffset(s.queue("Send", 2)));

        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            batch.add(s.message("Send", "A", "b" + i, "batch " + i));
        }
        s.say("batch %s", receipt(producer.send(batch, s.queue("Send", 3))));
        s.say("after the batch %s", receipt(producer.send(s.message("Send", "A", "k", "x"), s.queue("Send", 3))));

        Map<Integer, Integer> spread = new TreeMap<>();
        for (int i = 0; i < 8; i++) {
            spread.merge(producer.send(s.message("Spread", "A", "k", "s" + i)).getMessageQueue().getQueueId(), 1, Integer::sum);
        }
        s.say("without a queue, by queue: %s", spread);

        DefaultMQPullConsumer reader = s.pull("CG_send");
        for (int id = 0; id < 4; id++) {
            List<String> bodies = s.readAll(reader, s.queue("Send", id)).stream()
                .map(m -> m.getQueueOffset() + "=" + Stage.text(m)).toList();
            s.say("queue %d holds %s", id, id == 2 ? Stage.sorted(bodies.stream().map(b -> b.split("=")[0]).toList()) : bodies);
        }
    }

    /** A send result without its ids: for those, only whether they have the form the protocol asks for. */
    private static String receipt(SendResult r) throws Exception {
        String[] offsetIds = r.getOffsetMsgId().split(",");
        List<Long> positions = new ArrayList<>();
        boolean oneBroker = true;
        for (String id : offsetIds) {
            MessageId decoded = MessageDecoder.decodeMessageId(id);
            positions.add(decoded.getOffset());
            oneBroker &= NetworkUtil.socketAddress2String(decoded.getAddress()).startsWith("127.0.0.1:");
        }
        boolean rising = positions.stream().sorted().distinct().toList().equals(positions);
        return String.format("%s queue=%d offset=%d region=%s trace=%s unique=%d transaction=%s offsetIds=%d of %s chars%s%s recall=%s",
            r.getSendStatus(), r.getMessageQueue().getQueueId(), r.getQueueOffset(), r.getRegionId(), r.isTraceOn(),
            r.getMsgId().split(",").length, r.getTransactionId() == null ? "none" : r.getTransactionId().equals(r.getMsgId()),
            offsetIds.length, Arrays.stream(offsetIds).map(String::length).distinct().toList(), oneBroker ? "" : " elsewhere",
            rising ? "" : " out of order", r.getRecallHandle());
    }

    static void order(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_order");
        for (int i = 0; i < 60; i++) {
            String key = "order-" + i % 6;
            SendResult result = producer.send(s.message("Order", "A", key, key + " step " + i / 6), new SelectMessageQueueByHash(), key);
            if (i < 6) {
                s.say("%s goes to queue %d", key, result.getMessageQueue().getQueueId());
            }
        }
        DefaultMQPullConsumer reader = s.pull("CG_order");
        for (int id = 0; id < 4; id++) {
            s.say("queue %d holds %s", id, s.readAll(reader, s.queue("Order", id)).stream().map(Stage::text).toList());
        }
    }

    static void roundtrip(Stage s) throws Exception {
        List<Message> messages = new ArrayList<>();
        messages.add(s.message("Trip", null, null, "plain"));
        messages.add(s.message("Trip", "TagA", "key1 key2 key3", "three keys"));
        messages.add(s.message("Trip", "标签", "ключ", "тело 消息 \uD83D\uDE80"));
        Message user = s.message("Trip", "U", "u", "user properties");
        user.putUserProperty("colour", "blå");
        user.putUserProperty("two words", "a=b;c {\"d\":\"\\e\"}");
        user.setFlag(42);
        user.setWaitStoreMsgOK(false);
        user.setBuyerId("buyer");
        messages.add(user);
        messages.add(new Message(s.name("Trip"), "Binary", "bytes", new byte[] {0, 1, 2, (byte) 0xff, (byte) 0x80}));
        messages.add(s.message("Trip", "Zip", "zip", "compressible ".repeat(5000)));
        byte[] noise = new byte[1 << 20];
        new Random(7).nextBytes(noise);
        messages.add(new Message(s.name("Trip"), "Noise", "noise", noise));
        messages.add(s.message("Trip", "Props", "props", "many properties"));
        for (int i = 0; i < 200; i++) {
            messages.get(7).putUserProperty("property-" + i, "v".repeat(100));
        }

        DefaultMQProducer producer = s.producer("PG_trip");
        List<String> ids = new ArrayList<>();
        for (Message message : messages) {
            ids.add(producer.send(message, s.queue("Trip", 0)).getMsgId());
        }
        List<MessageExt> stored = s.readAll(s.pull("CG_trip"), s.queue("Trip", 0));
        s.require(stored.size() == messages.size(), "%d of %d came back", stored.size(), messages.size());
        for (int i = 0; i < stored.size(); i++) {
            MessageExt m = stored.get(i);
            s.require(Arrays.equals(m.getBody(), messages.get(i).getBody()), "body %d differs", i);
            s.require(m.getMsgId().equals(ids.get(i)), "unique id %d differs", i);
            s.say("%s", describe(m));
        }
    }

    /** Bodies that the client compresses, each in its own way, and an order over the whole topic. */
    static void compress(Stage s) throws Exception {
        List<String> sent = new ArrayList<>();
        for (CompressionType type : CompressionType.values()) {
            DefaultMQProducer producer = s.producer("PG_compress_" + type);
            producer.setCompressType(type);
            if (sent.isEmpty()) {
                producer.createTopic("TBW102", s.name("Compress"), 1, Map.of());
                s.await("the topic", () -> isThere(producer, s.name("Compress")));
            }
            for (int i = 0; i < 3; i++) {
                String body = (type + " " + i + " ").repeat(2000);
                sent.add(body);
                producer.send(s.message("Compress", type.name(), "k", body), new SelectMessageQueueByHash(), i);
            }
        }
        List<MessageExt> stored = s.readAll(s.pull("CG_compress"), s.queue("Compress", 0));
        s.require(stored.stream().map(Stage::text).toList().equals(sent), "another order, or other bodies");
        for (MessageExt m : stored) {
            // The client takes the flag off when it has inflated a body; the size is that of the compressed one.
            s.say("%s at %d sysFlag=%d compressed=%s", m.getTags(), m.getQueueOffset(), m.getSysFlag(), m.getStoreSize() < m.getBody().length / 4);
        }
    }

    private static boolean isThere(DefaultMQProducer producer, String topic) {
        try {
            return producer.fetchPublishMessageQueues(topic).size() == 1;
        } catch (Exception none) {
            return false;
        }
    }

    /** All that a consumer can see of a message, ids and times left out. */
    private static String describe(MessageExt m) {
        Map<String, String> properties = new TreeMap<>(m.getProperties());
        properties.replace(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX, "id");
        properties.replaceAll((name, value) -> value.length() > 60 ? value.length() + " chars" : value);
        if (properties.size() > 50) {
            properties.keySet().removeIf(name -> name.startsWith("property-"));
            properties.put("property-*", String.valueOf(m.getProperties().size() - properties.size()));
        }
        String store = NetworkUtil.socketAddress2String(m.getStoreHost());
        byte[] body = m.getBody();
        return String.format("topic=%s queue=%d at=%d size=%d flag=%d sysFlag=%d crc=%d reconsumed=%d prepared=%d tags=%s keys=%s "
                + "store=%s bornHere=%s ordered=%s body=%s properties=%s",
            m.getTopic(), m.getQueueId(), m.getQueueOffset(), m.getStoreSize(), m.getFlag(), m.getSysFlag(), m.getBodyCRC(),
            m.getReconsumeTimes(), m.getPreparedTransactionOffset(), m.getTags(), m.getKeys(), store.substring(0, store.indexOf(':')),
            NetworkUtil.socketAddress2String(m.getBornHost()).startsWith("127.0.0.1:"),
            m.getBornTimestamp() <= m.getStoreTimestamp() + 1000 && m.getStoreTimestamp() > 0,
            body.length < 100 ? new String(body, StandardCharsets.UTF_8).replace("\u0000", "\\0") : body.length + " bytes", properties);
    }
}
