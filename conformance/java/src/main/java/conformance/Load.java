// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.io.BufferedWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Messages for a store that another server will open. {@code load FILE FROM COUNT} sends numbered messages and notes each
 * acknowledged one in FILE; {@code verify FILE...} reads every queue, looks for each of them, and commits what it read;
 * {@code verify --offsets FILE...} first asks whether the server still knows what the verify before has committed,
 * {@code verify --later FILE...} waits for the delayed messages among them. {@code drain GROUP FILE} lets a push consumer of a
 * group that is new read until each of them came, from whatever broker its route has, and commits.
 * A note is `topic queue offset key crc-of-body`, of a delayed message `later key`.
 */
final class Load {
    static final List<String> VERBS = List.of("load", "verify", "drain");
    private static final int SENDERS = 8;
    private static final int TOPICS = 3;
    private static final int QUEUES = 4;
    private static final String LATER = "later";
    private static final int LATER_LEVEL = 3;
    private static final long LATER_MS = 10_000;

    private Load() {
    }

    static void run(String nameserver, List<String> words) throws Exception {
        try (Stage stage = new Stage(nameserver, "")) {
            if (words.get(0).equals("load")) {
                load(stage, Path.of(words.get(1)), Integer.parseInt(words.get(2)), Integer.parseInt(words.get(3)));
                return;
            }
            if (words.get(0).equals("drain")) {
                drain(stage, words.get(1), Path.of(words.get(2)));
                return;
            }
            List<String> rest = new ArrayList<>(words.subList(1, words.size()));
            boolean offsets = rest.remove("--offsets");
            boolean later = rest.remove("--later");
            verify(stage, rest, offsets, later);
        }
    }

    private static void load(Stage s, Path file, int from, int count) throws Exception {
        AtomicInteger next = new AtomicInteger(from);
        AtomicInteger failures = new AtomicInteger();
        List<Thread> threads = new ArrayList<>();
        try (BufferedWriter notes = Files.newBufferedWriter(file)) {
            for (int t = 0; t < SENDERS; t++) {
                DefaultMQProducer producer = s.producer("PG_load_" + t);
                producer.setRetryTimesWhenSendFailed(0);
                producer.setSendMsgTimeout(10_000);
                threads.add(new Thread(() -> {
                    for (int i = next.getAndIncrement(); i < from + count && failures.get() == 0; i = next.getAndIncrement()) {
                        sendOne(s, producer, notes, i, failures);
                    }
                }));
            }
            threads.forEach(Thread::start);
            for (Thread thread : threads) {
                thread.join();
            }
        }
        System.out.printf("load: %s%n", failures.get() == 0 ? count + " acknowledged" : "the server went away");
        System.exit(0); // clients of a server that was killed take long to shut down
    }

    private static void sendOne(Stage s, DefaultMQProducer producer, BufferedWriter notes, int i, AtomicInteger failures) {
        if (i % 50 == 7) {
            sendLater(s, producer, notes, i, failures);
            return;
        }
        byte[] body = new byte[i % 50 == 0 ? 20_000 : 100 + i % 400];
        new Random(i).nextBytes(body);
        Message message = new Message(s.name("Load" + i % TOPICS), i % 2 == 0 ? "Even" : "Odd", "key-" + i, body);
        message.putUserProperty("index", String.valueOf(i));
        try {
            SendResult result = producer.send(message, s.queue("Load" + i % TOPICS, i % 4));
            if (result.getSendStatus() == SendStatus.SEND_OK) {
                synchronized (notes) {
                    notes.write(String.format("%s %d %d %s %d%n", message.getTopic(), result.getMessageQueue().getQueueId(),
                        result.getQueueOffset(), message.getKeys(), crc(body)));
                    notes.flush();
                }
            }
        } catch (Exception gone) {
            failures.incrementAndGet();
        }
    }

    /** A delayed message; often another server delivers it. */
    private static void sendLater(Stage s, DefaultMQProducer producer, BufferedWriter notes, int i, AtomicInteger failures) {
        Message message = s.message("Later", "Later", "later-" + i, "later " + i);
        message.setDelayTimeLevel(LATER_LEVEL);
        try {
            if (producer.send(message, s.queue("Later", i % QUEUES)).getSendStatus() == SendStatus.SEND_OK) {
                synchronized (notes) {
                    notes.write(String.format("%s %s%n", LATER, message.getKeys()));
                    notes.flush();
                }
            }
        } catch (Exception gone) {
            failures.incrementAndGet();
        }
    }

    /** Waits until every delayed message of the notes is delivered. Returns how many come too early. */
    private static int verifyLater(Stage s, DefaultMQPullConsumer reader, List<String> files) throws Exception {
        Set<String> missing = new HashSet<>();
        for (String file : files) {
            Files.readAllLines(Path.of(file)).stream().filter(note -> note.startsWith(LATER)).forEach(note -> missing.add(note.split(" ")[1]));
        }
        int noted = missing.size();
        int early = 0;
        Map<String, Integer> times = new HashMap<>();
        for (int id = 0; id < QUEUES; id++) {
            MessageQueue queue = s.queue("Later", id);
            s.await("route of " + queue.getTopic(), () -> hasRoute(reader, queue));
        }
        s.await(noted + " delayed messages", () -> {
            times.clear();
            for (int id = 0; id < QUEUES; id++) {
                for (MessageExt m : s.readAll(reader, s.queue("Later", id))) {
                    times.merge(m.getKeys(), 1, Integer::sum);
                }
            }
            return times.keySet().containsAll(missing);
        });
        for (int id = 0; id < QUEUES; id++) {
            for (MessageExt m : s.readAll(reader, s.queue("Later", id))) {
                early += m.getStoreTimestamp() - m.getBornTimestamp() < LATER_MS ? 1 : 0;
            }
        }
        System.out.printf("verify: %d delayed, %d early, %d repeated%n", noted, early,
            times.values().stream().filter(n -> n > 1).count());
        return early;
    }

    private static long crc(byte[] body) {
        CRC32 crc = new CRC32();
        crc.update(body);
        return crc.getValue();
    }

    private static void verify(Stage s, List<String> files, boolean offsets, boolean later) throws Exception {
        DefaultMQPullConsumer reader = s.pull("CG_verify");
        Path committed = Path.of(files.get(0) + ".offsets");
        Map<String, String> stored = new HashMap<>();
        Map<MessageQueue, Long> ends = new LinkedHashMap<>();
        int gaps = 0;
        for (int i = 0; i < TOPICS * QUEUES; i++) {
            MessageQueue queue = s.queue("Load" + i / QUEUES, i % QUEUES);
            s.await("route of " + queue.getTopic(), () -> hasRoute(reader, queue));
            ends.put(queue, reader.fetchConsumeOffset(queue, true));
            long expected = reader.minOffset(queue);
            for (MessageExt m : s.readAll(reader, queue)) {
                gaps += m.getQueueOffset() == expected ? 0 : 1;
                expected = m.getQueueOffset() + 1;
                stored.put(String.format("%s %d %d", m.getTopic(), m.getQueueId(), m.getQueueOffset()), m.getKeys() + " " + crc(m.getBody()));
            }
        }
        boolean kept = !offsets || ends.toString().equals(Files.readString(committed));
        ends.replaceAll((queue, before) -> commit(s, reader, queue));
        Files.writeString(committed, ends.toString());

        int noted = 0;
        int missing = 0;
        for (String file : files) {
            for (String note : Files.readAllLines(Path.of(file))) {
                String[] words = note.split(" ");
                if (words[0].equals(LATER)) {
                    continue;
                }
                String found = stored.get(String.join(" ", words[0], words[1], words[2]));
                noted++;
                if (!(words[3] + " " + words[4]).equals(found)) {
                    missing++;
                    System.err.printf("%s is not there: found %s%n", note, found);
                }
            }
        }
        int early = later ? verifyLater(s, reader, files) : 0;
        System.out.printf("verify: %d acknowledged, %d missing, %d gaps, %d stored, offsets %s%n", noted, missing, gaps, stored.size(),
            offsets ? kept ? "kept" : "lost" : "not asked");
        System.exit(missing + gaps + early == 0 && kept ? 0 : 1);
    }

    private static void drain(Stage s, String group, Path file) throws Exception {
        Set<String> missing = ConcurrentHashMap.newKeySet();
        for (String note : Files.readAllLines(file)) {
            String[] words = note.split(" ");
            if (!words[0].equals(LATER)) {
                missing.add(note);
            }
        }
        int noted = missing.size();
        // On a machine with too much to do the start of a client may fail; then it has shut itself down.
        s.await("a consumer that starts", () -> {
            try {
                s.start(drainer(s, group, missing));
                return true;
            } catch (Exception busy) {
                System.err.println("not started: " + busy);
                return false;
            }
        });
        s.await("each message", missing::isEmpty);
        System.out.printf("drain: %d read%n", noted);
        // The end of the consumer, with its offsets, is that of the stage.
    }

    private static DefaultMQPushConsumer drainer(Stage s, String group, Set<String> missing) throws Exception {
        DefaultMQPushConsumer consumer = s.push(group);
        consumer.setPersistConsumerOffsetInterval(1000);
        for (int topic = 0; topic < TOPICS; topic++) {
            consumer.subscribe(s.name("Load" + topic), "*");
        }
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt m : messages) {
                missing.remove(String.format("%s %d %d %s %d", m.getTopic(), m.getQueueId(), m.getQueueOffset(), m.getKeys(), crc(m.getBody())));
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        return consumer;
    }

    private static long commit(Stage s, DefaultMQPullConsumer reader, MessageQueue queue) {
        try {
            long end = reader.maxOffset(queue);
            reader.updateConsumeOffset(queue, end);
            reader.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
            s.await("the offset of " + queue, () -> reader.fetchConsumeOffset(queue, true) == end);
            return end;
        } catch (Exception failure) {
            throw new IllegalStateException(failure);
        }
    }

    private static boolean hasRoute(DefaultMQPullConsumer reader, MessageQueue queue) {
        try {
            return reader.fetchSubscribeMessageQueues(queue.getTopic()).contains(queue);
        } catch (Exception none) {
            return false;
        }
    }
}
