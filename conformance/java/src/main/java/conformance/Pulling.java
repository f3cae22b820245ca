// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Pulls at given offsets, and the pull consumer that keeps its own. */
final class Pulling {
    private Pulling() {
    }

    static void pull(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_pull");
        MessageQueue queue = s.queue("Pull", 0);
        for (int i = 0; i < 50; i++) {
            producer.send(s.message("Pull", i % 10 == 0 ? "Tens" : "Rest", "k" + i, "body " + i), queue);
        }
        DefaultMQPullConsumer consumer = s.pull("CG_pull");
        s.say("from 0, 5 at most: %s", pulled(consumer.pull(queue, "*", 0, 5)));
        s.say("from 0, 32 at most: %s", pulled(consumer.pull(queue, "*", 0, 32)));
        s.say("from 0, 100 at most: %s", pulled(consumer.pull(queue, "*", 0, 100)));
        s.say("from 40: %s", pulled(consumer.pull(queue, "*", 40, 32)));
        s.say("at the end: %s", pulled(consumer.pull(queue, "*", 50, 32)));
        s.say("past the end: %s", pulled(consumer.pull(queue, "*", 60, 32)));
        s.say("empty queue: %s", pulled(consumer.pull(s.queue("Pull", 1), "*", 0, 32)));
        s.say("empty queue from 5: %s", pulled(consumer.pull(s.queue("Pull", 1), "*", 5, 32)));
        s.say("tag Tens: %s", pulled(consumer.pull(queue, "Tens", 0, 32)));
        s.say("tag None: %s", pulled(consumer.pull(queue, "None", 0, 32)));

        for (int i = 0; i < 4; i++) {
            Message big = new Message(s.name("Pull"), new byte[100_000]);
            producer.setCompressMsgBodyOverHowmuch(1 << 20);
            producer.send(big, s.queue("Pull", 2));
        }
        s.await("all bodies to be seen", () -> consumer.maxOffset(s.queue("Pull", 2)) == 4);
        s.say("100 kB bodies: %s", pulled(consumer.pull(s.queue("Pull", 2), "*", 0, 32)));

        CompletableFuture<PullResult> held = CompletableFuture.supplyAsync(() -> {
            try {
                return consumer.pullBlockIfNotFound(queue, "*", 50, 32);
            } catch (Exception failure) {
                throw new IllegalStateException(failure);
            }
        });
        producer.send(s.message("Pull", "Rest", "k", "late"), queue);
        s.say("held until a send: %s", pulled(held.get(Stage.DEADLINE_MS, TimeUnit.MILLISECONDS)));

        s.say("offset before any commit: %d", consumer.fetchConsumeOffset(s.queue("Pull", 3), true));
        consumer.updateConsumeOffset(queue, 17);
        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
        s.await("the committed offset", () -> consumer.fetchConsumeOffset(queue, true) == 17);
        s.say("offset after a commit of 17: %d", consumer.fetchConsumeOffset(queue, true));
    }

    private static String pulled(PullResult r) {
        List<MessageExt> found = r.getMsgFoundList();
        return String.format("%s next=%d min=%d max=%d %s", r.getPullStatus(), r.getNextBeginOffset(), r.getMinOffset(), r.getMaxOffset(),
            found == null || found.isEmpty() ? "nothing" : found.size() + " from " + found.get(0).getQueueOffset() + " to "
                + found.get(found.size() - 1).getQueueOffset());
    }

    static void lite(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_lite");
        s.fill(producer, "Lite", 4, 0, 80);

        DefaultLitePullConsumer subscriber = s.litePull("CG_lite");
        subscriber.setAutoCommit(false);
        subscriber.subscribe(s.name("Lite"), "*");
        subscriber.start();
        s.say("subscribed: %s", summary(s, subscriber, 80));
        subscriber.commit();
        Map<Integer, Long> committed = new TreeMap<>();
        for (int id = 0; id < 4; id++) {
            committed.put(id, subscriber.committed(s.queue("Lite", id)));
        }
        s.say("committed: %s", committed);
        subscriber.shutdown();

        s.fill(producer, "Lite", 4, 80, 8);
        DefaultLitePullConsumer next = s.litePull("CG_lite");
        next.subscribe(s.name("Lite"), "*");
        next.start();
        s.say("the next member of the group: %s", summary(s, next, 8));

        DefaultLitePullConsumer assigned = s.litePull("CG_lite_assigned");
        assigned.start();
        Set<Integer> ids = new TreeSet<>();
        assigned.fetchMessageQueues(s.name("Lite")).forEach(queue -> ids.add(queue.getQueueId()));
        s.say("queues to choose from: %s", ids);
        MessageQueue first = s.queue("Lite", 0);
        MessageQueue second = s.queue("Lite", 1);
        assigned.assign(List.of(first, second));
        // A seek while the first pull of a queue is being prepared leaves the client with two readers of it.
        s.say("assigned: %s", summary(s, assigned, 22 + 22));
        assigned.seekToBegin(first);
        assigned.seek(second, 15);
        s.say("queue 0 from its begin, queue 1 from 15: %s", summary(s, assigned, 22 + 7));
        assigned.seek(first, 20);
        s.say("sought back to 20: %s", summary(s, assigned, 2));
        s.say("offset for time 0: %d, for the far future: %d", assigned.offsetForTimestamp(first, 0L),
            assigned.offsetForTimestamp(first, Long.MAX_VALUE));
    }

    /** Polls until `count` messages came, then says which offsets of which queue, and whether each came once and in order. */
    private static String summary(Stage s, DefaultLitePullConsumer consumer, int count) throws Exception {
        List<MessageExt> polled = new ArrayList<>();
        s.await(count + " messages", () -> {
            polled.addAll(consumer.poll(200));
            return polled.size() >= count;
        });
        Map<Integer, List<Long>> offsets = new TreeMap<>();
        polled.forEach(m -> offsets.computeIfAbsent(m.getQueueId(), id -> new ArrayList<>()).add(m.getQueueOffset()));
        StringBuilder text = new StringBuilder(polled.size() + " messages");
        offsets.forEach((id, list) -> {
            boolean rising = list.stream().sorted().distinct().toList().equals(list);
            text.append(String.format(", queue %d: %d from %d to %d%s", id, list.size(), list.get(0), list.get(list.size() - 1), rising ? "" : " out of order"));
        });
        return text.toString();
    }
}
