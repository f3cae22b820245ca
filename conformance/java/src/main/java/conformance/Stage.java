// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * What one scene works with: its own topics and groups, clients that are shut down at its end, and the lines it says.
 * Lines are compared between servers, so they never carry an id, a time, a port or a chosen-by-chance queue.
 */
final class Stage implements AutoCloseable {
    static final String BROKER = "broker-a";
    static final long DEADLINE_MS = 120_000;
    private static final int CALL_TIMEOUT_MS = 15_000;

    private final String nameserver;
    private final String suffix;
    private final List<String> lines = new ArrayList<>();
    private final Deque<Runnable> shutdowns = new ArrayDeque<>();

    Stage(String nameserver, String suffix) {
        this.nameserver = nameserver;
        this.suffix = suffix;
    }

    List<String> lines() {
        return lines;
    }

    synchronized void say(String format, Object... args) {
        lines.add(args.length == 0 ? format : String.format(format, args));
    }

    void require(boolean holds, String format, Object... args) {
        if (!holds) {
            throw new AssertionError(String.format(format, args));
        }
    }

    /** A name of this pass: the second pass over the same server must not meet the first one's messages. */
    String name(String base) {
        return base + suffix;
    }

    MessageQueue queue(String base, int id) {
        return new MessageQueue(name(base), BROKER, id);
    }

    Message message(String base, String tag, String key, String body) {
        return new Message(name(base), tag, key, body.getBytes(StandardCharsets.UTF_8));
    }

    DefaultMQProducer producer(String group) throws Exception {
        return producer(group, false);
    }

    DefaultMQProducer producer(String group, boolean isTraced) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(name(group));
        producer.setEnableTrace(isTraced);
        producer.setNamesrvAddr(nameserver);
        producer.setSendMsgTimeout(CALL_TIMEOUT_MS);
        producer.setMqClientApiTimeout(CALL_TIMEOUT_MS);
        producer.start();
        shutdowns.push(producer::shutdown);
        return producer;
    }

    TransactionMQProducer transactional(String group, TransactionListener listener) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(name(group));
        producer.setNamesrvAddr(nameserver);
        producer.setSendMsgTimeout(CALL_TIMEOUT_MS);
        producer.setMqClientApiTimeout(CALL_TIMEOUT_MS);
        producer.setTransactionListener(listener);
        producer.start();
        shutdowns.push(producer::shutdown);
        return producer;
    }

    /** What the dashboard works with. */
    DefaultMQAdminExt admin() throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(CALL_TIMEOUT_MS);
        admin.setNamesrvAddr(nameserver);
        admin.setInstanceName("admin-" + System.nanoTime());
        admin.start();
        shutdowns.push(admin::shutdown);
        return admin;
    }

    /** The producer's own method leaves the attributes out. */
    void createTopic(DefaultMQProducer producer, String base, int queues, Map<String, String> attributes) throws Exception {
        producer.getDefaultMQProducerImpl().getMqClientFactory().getMQAdminImpl()
            .createTopic("TBW102", name(base), queues, 0, attributes);
        await("the topic", () -> producer.fetchPublishMessageQueues(name(base)).size() == queues);
    }

    /** Not started: the scene subscribes and registers its listener first, then calls {@link #start}. */
    DefaultMQPushConsumer push(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(name(group));
        consumer.setNamesrvAddr(nameserver);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        consumer.setMqClientApiTimeout(CALL_TIMEOUT_MS);
        return consumer;
    }

    void start(DefaultMQPushConsumer consumer) throws Exception {
        consumer.start();
        shutdowns.push(consumer::shutdown);
    }

    DefaultLitePullConsumer litePull(String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(name(group));
        consumer.setNamesrvAddr(nameserver);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        shutdowns.push(consumer::shutdown);
        return consumer;
    }

    DefaultMQPullConsumer pull(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(name(group));
        consumer.setNamesrvAddr(nameserver);
        consumer.setMqClientApiTimeout(CALL_TIMEOUT_MS);
        consumer.start();
        shutdowns.push(consumer::shutdown);
        return consumer;
    }

    /** Sends `count` messages round the first `queues` queues of a topic; body, key and order follow from the index. */
    List<SendResult> fill(DefaultMQProducer producer, String base, int queues, int from, int count) throws Exception {
        List<SendResult> results = new ArrayList<>();
        for (int i = from; i < from + count; i++) {
            results.add(producer.send(message(base, "T" + i % 3, "k" + i, "body " + i), queue(base, i % queues)));
        }
        for (SendResult result : results) {
            require(result.getSendStatus() == SendStatus.SEND_OK, "send status %s", result.getSendStatus());
        }
        return results;
    }

    /** Every message of one queue, read with plain pulls from its first offset to its end. */
    List<MessageExt> readAll(DefaultMQPullConsumer consumer, MessageQueue queue) throws Exception {
        List<MessageExt> messages = new ArrayList<>();
        long offset = consumer.minOffset(queue);
        while (true) {
            PullResult result = consumer.pull(queue, "*", offset, 32);
            if (result.getPullStatus() == PullStatus.NO_NEW_MSG) {
                return messages;
            }
            require(result.getPullStatus() == PullStatus.FOUND, "pull at %d: %s", offset, result.getPullStatus());
            messages.addAll(result.getMsgFoundList());
            offset = result.getNextBeginOffset();
        }
    }

    /** Another process of this program, killed at the end of the scene. */
    Process child(String... words) throws Exception {
        List<String> command = new ArrayList<>(List.of(ProcessHandle.current().info().command().orElse("java"), "-Xmx128m", "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path")));
        for (String name : new String[] {"user.home", "rocketmq.client.localOffsetStoreDir", "rocketmq.serialize.type"}) {
            if (System.getProperty(name) != null) {
                command.add("-D" + name + "=" + System.getProperty(name));
            }
        }
        command.addAll(List.of("conformance.Main", nameserver));
        command.addAll(List.of(words));
        Process process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD).start();
        shutdowns.push(process::destroyForcibly);
        return process;
    }

    /** Asks again until the probe holds; the only waiting in a scene. */
    void await(String what, Callable<Boolean> probe) throws Exception {
        long deadline = System.currentTimeMillis() + DEADLINE_MS;
        while (!probe.call()) {
            require(System.currentTimeMillis() < deadline, "waited %d ms for: %s", DEADLINE_MS, what);
            Thread.sleep(50);
        }
    }

    static String text(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    static String sorted(Collection<?> items) {
        return items.stream().map(String::valueOf).sorted().toList().toString();
    }

    @Override
    public void close() {
        shutdowns.forEach(Runnable::run);
        shutdowns.clear();
    }
}
