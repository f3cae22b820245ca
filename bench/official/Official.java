// SPDX-License-Identifier: Apache-2.0
// The official client as a load: `Official produce|consume NAMESRV TOPIC THREADS SIZE SECONDS BROKER_PID`.
// Warms up for some seconds, then counts until the time is over or nothing comes any more, and prints one JSON line.

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.atomic.LongAdder;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

public class Official {
    static final LongAdder messages = new LongAdder();
    static final LongAdder errors = new LongAdder();
    /** Latencies of this many sends are kept for each thread; later ones replace the first. */
    static final int KEPT = 1 << 18;
    static final double TICKS_PER_S = 100;
    static final long WARMUP_MS = 4000;
    static final long QUIET_NS = 500_000_000;

    static volatile boolean stop;
    static volatile boolean measuring;

    public static void main(String[] args) throws Exception {
        String namesrv = args[1], topic = args[2];
        int threads = Integer.parseInt(args[3]), size = Integer.parseInt(args[4]);
        double seconds = Double.parseDouble(args[5]);
        if (args[0].equals("produce")) {
            produce(namesrv, topic, threads, size, seconds, args[6]);
        } else {
            consume(namesrv, topic, threads, seconds, args[6]);
        }
        System.exit(0);
    }

    /** Every thread sends one message after the other, all through one producer. */
    static void produce(String namesrv, String topic, int threads, int size, double seconds, String pid) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("official_producer");
        producer.setNamesrvAddr(namesrv);
        producer.start();
        long[][] took = new long[threads][];
        Thread[] senders = new Thread[threads];
        for (int i = 0; i < threads; i++) {
            int me = i;
            senders[i] = new Thread(() -> took[me] = send(producer, topic, size));
            senders[i].start();
        }
        String line = measure("produce", seconds, pid);
        stop = true;
        for (Thread sender : senders) {
            sender.join();
        }
        long[] all = Arrays.stream(took).flatMapToLong(Arrays::stream).sorted().toArray();
        System.out.printf("%s,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f}%n", line, at(all, 0.5), at(all, 0.99), at(all, 0.999));
    }

    static long[] send(DefaultMQProducer producer, String topic, int size) {
        long[] took = new long[KEPT];
        int n = 0;
        byte[] body = new byte[size];
        while (!stop) {
            long start = System.nanoTime();
            try {
                boolean stored = producer.send(new Message(topic, body)).getSendStatus() == SendStatus.SEND_OK;
                (stored ? messages : errors).increment();
            } catch (Exception e) {
                errors.increment();
            }
            if (measuring) {
                took[n++ % KEPT] = System.nanoTime() - start;
            }
        }
        return Arrays.copyOf(took, Math.min(n, KEPT));
    }

    /** Reads what the topic holds, from its beginning. */
    static void consume(String namesrv, String topic, int threads, double seconds, String pid) throws Exception {
        // A group that has never been: it begins at the first message.
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("official_consumer_" + System.currentTimeMillis());
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeThreadMax(threads);
        consumer.setConsumeThreadMin(threads);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (some, context) -> {
            messages.add(some.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        while (messages.sum() == 0) {
            Thread.sleep(1);
        }
        System.out.println(measure("consume", seconds, pid) + "}");
    }

    /** Lets the load warm up, then counts; a JSON line without its end. */
    static String measure(String mode, double seconds, String pid) throws Exception {
        Thread.sleep(WARMUP_MS);
        long before = messages.sum(), bad = errors.sum(), start = System.nanoTime();
        double cpu = cpu(pid), own = cpu("self");
        measuring = true;
        double wall = (lastMessage(start, seconds) - start) / 1e9;
        measuring = false;
        long count = messages.sum() - before;
        cpu = cpu(pid) - cpu;
        return String.format("{\"mode\":\"official %s\",\"msgs\":%d,\"seconds\":%.2f,\"msgs_per_s\":%.1f,\"errors\":%d,"
            + "\"server_cpu_us_per_msg\":%.3f,\"server_cores\":%.3f,\"loadgen_cores\":%.3f", mode, count, wall, count / wall,
            errors.sum() - bad, count == 0 ? 0 : 1e6 * cpu / count, cpu / wall, (cpu("self") - own) / wall);
    }

    /** When the last message came: now, after so many seconds, or earlier when there are no more. */
    static long lastMessage(long start, double seconds) throws Exception {
        long seen = messages.sum(), last = System.nanoTime();
        while (System.nanoTime() - start < seconds * 1e9) {
            Thread.sleep(5);
            long now = System.nanoTime();
            if (messages.sum() > seen) {
                seen = messages.sum();
                last = now;
            } else if (now - last > QUIET_NS) {
                break;
            }
        }
        return last;
    }

    /** User and system seconds of a process. */
    static double cpu(String pid) throws IOException {
        String stat = Files.readString(Path.of("/proc/" + pid + "/stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        return (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) / TICKS_PER_S;
    }

    static double at(long[] sorted, double quantile) {
        return sorted.length == 0 ? 0 : sorted[(int) Math.min(sorted.length - 1, sorted.length * quantile)] / 1000.0;
    }
}
