// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.zip.CRC32;
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
 * A stream that goes on through failures: {@code stream DIR [--consume] [--slowly]} sends numbered messages, one sender for each
 * queue, and reads them if told (then it sends slowly, as with {@code --slowly}), until the file DIR/stop is there. Notes in DIR/notes, each with the time in ms:
 * {@code sent T STATUS queue number position crc}, {@code error T queue why}, {@code got T queue offset number}; of
 * delayed messages, which are among those that are read, {@code laid T key} and {@code late T key}.
 * The position is that of the record in the log, the number counts the messages of a queue.
 */
final class Stream {
    static final String VERB = "stream";
    static final String TOPIC = "Stream";
    private static final int QUEUES = 4;
    private static final int TIMEOUT_MS = 6000;
    private static final int ROUTE_EVERY_MS = 1000;
    private static final int AFTER_ERROR_MS = 100;
    private static final int AFTER_DOUBT_MS = 10;

    private static final int SLOW_MS = 4;
    private static final String LATER = "StreamLater";
    private static final int LATER_EACH = 20;
    private static final int LATER_LEVEL = 3;
    private static final int LATER_MS = 10_000;

    private final Path stop;
    private final int pauseMs;
    private final boolean isConsumed;
    private final BufferedWriter notes;

    private Stream(Path dir, boolean isConsumed, boolean isSlow) throws IOException {
        this.isConsumed = isConsumed;
        pauseMs = isConsumed || isSlow ? SLOW_MS : 0;
        stop = dir.resolve("stop");
        notes = Files.newBufferedWriter(dir.resolve("notes"));
    }

    static void run(String nameserver, List<String> words) throws Exception {
        boolean isConsumed = words.contains("--consume");
        Stream stream = new Stream(Path.of(words.get(0)), isConsumed, words.contains("--slowly"));
        try (Stage stage = new Stage(nameserver, "")) {
            DefaultMQProducer first = stage.producer("PG_stream");
            // Made by the client, so that nothing is sent to where the topic is not known yet.
            for (String topic : List.of(TOPIC, LATER)) {
                first.createTopic("TBW102", topic, QUEUES, null);
                stage.await("the topic", () -> first.fetchPublishMessageQueues(topic).size() >= QUEUES);
            }
            if (isConsumed) {
                stream.consume(stage);
            }
            List<Thread> senders = new ArrayList<>();
            for (int queue = 0; queue < QUEUES; queue++) {
                DefaultMQProducer producer = new DefaultMQProducer("PG_stream_" + queue);
                producer.setNamesrvAddr(nameserver);
                producer.setSendMsgTimeout(TIMEOUT_MS);
                producer.setRetryTimesWhenSendFailed(0);
                producer.setPollNameServerInterval(ROUTE_EVERY_MS);
                producer.setCompressMsgBodyOverHowmuch(1 << 22); // stored bodies are sent bodies
                producer.setInstanceName("stream-" + queue);
                producer.start();
                int number = queue;
                Thread sender = new Thread(() -> stream.send(producer, number));
                sender.start();
                senders.add(sender);
            }
            for (Thread sender : senders) {
                sender.join();
            }
            if (isConsumed) {
                stage.await("the end of reading", () -> Files.exists(stream.stop.resolveSibling("stop-reading")));
            }
        }
        System.exit(0); // clients of a server that was killed take long to shut down
    }

    private void consume(Stage s) throws Exception {
        DefaultMQPushConsumer consumer = s.push("CG_stream");
        // One thread, one message at a time: what is noted is in the order in which it came.
        consumer.setConsumeThreadMin(1);
        consumer.setConsumeThreadMax(1);
        consumer.setPollNameServerInterval(ROUTE_EVERY_MS);
        consumer.subscribe(TOPIC, "*");
        consumer.subscribe(LATER, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt m : messages) {
                if (m.getTopic().equals(LATER)) {
                    note("late %d %s", now(), m.getKeys());
                } else {
                    note("got %d %d %d %s", now(), m.getQueueId(), m.getQueueOffset(), m.getKeys().split("-")[1]);
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        s.start(consumer);
    }

    private void send(DefaultMQProducer producer, int queue) {
        for (int i = 0; !Files.exists(stop); i++) {
            Random random = new Random(i * 31L + queue);
            byte[] body = new byte[random.nextInt(40) == 0 ? 20_000 : 100 + random.nextInt(400)];
            random.nextBytes(body);
            try {
                SendResult result = producer.send(new Message(TOPIC, "T", queue + "-" + i, body), Stream::chosen, queue);
                String id = result.getOffsetMsgId();
                long position = Long.parseUnsignedLong(id.substring(id.length() - 16), 16);
                CRC32 crc = new CRC32();
                crc.update(body);
                note("sent %d %s %d %d %d %d", now(), result.getSendStatus(), queue, i, position, crc.getValue());
                if (isConsumed && i % LATER_EACH == 0) {
                    sendLater(producer, queue, i);
                }
                pause(result.getSendStatus() == SendStatus.SEND_OK ? pauseMs : AFTER_DOUBT_MS);
            } catch (Exception error) {
                note("error %d %d %s", now(), queue, String.valueOf(error.getMessage()).split("\n")[0].replace(' ', '_'));
                pause(AFTER_ERROR_MS);
            }
        }
    }

    /** A message for later, by its level or by a time. */
    private void sendLater(DefaultMQProducer producer, int queue, int i) throws Exception {
        String key = queue + "-" + i;
        Message message = new Message(LATER, "T", key, new byte[100]);
        if (i / LATER_EACH % 2 == 0) {
            message.setDelayTimeLevel(LATER_LEVEL);
        } else {
            message.setDelayTimeMs(LATER_MS);
        }
        producer.send(message, Stream::chosen, queue);
        note("laid %d %s", now(), key);
    }

    /** As a producer that wants its messages in order chooses; none where no broker may be written. */
    private static MessageQueue chosen(List<MessageQueue> writable, Message message, Object queue) {
        return writable.stream().filter(q -> queue.equals(q.getQueueId())).findFirst().orElse(null);
    }

    private static void pause(int ms) {
        try {
            if (ms > 0) {
                Thread.sleep(ms);
            }
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }

    private static long now() {
        return System.currentTimeMillis();
    }

    private synchronized void note(String format, Object... args) {
        try {
            notes.write(String.format(Locale.ROOT, format, args));
            notes.newLine();
            notes.flush();
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }
}
