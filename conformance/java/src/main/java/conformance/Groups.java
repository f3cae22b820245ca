// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Members of a group sharing a topic, and what the next member inherits. */
final class Groups {
    private Groups() {
    }

    static void rebalance(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_rebalance");
        s.fill(producer, "Rebalance", 4, 0, 40);
        Consuming.Seen seen = new Consuming.Seen();
        DefaultMQPushConsumer stays = Consuming.collect(s, "CG_rebalance", "Rebalance", "*", seen);
        s.await("one member owns all queues", () -> owned(s, stays).size() == 4);
        s.say("alone: %d queues", owned(s, stays).size());

        DefaultMQPushConsumer leaves = Consuming.collect(s, "CG_rebalance", "Rebalance", "*", seen);
        s.await("an even split", () -> owned(s, stays).size() == 2 && owned(s, leaves).size() == 2);
        Set<Integer> together = new TreeSet<>(owned(s, stays));
        together.addAll(owned(s, leaves));
        s.say("two members: %d and %d queues, together %s", owned(s, stays).size(), owned(s, leaves).size(), together);
        s.fill(producer, "Rebalance", 4, 40, 40);
        s.await("80 messages", () -> seen.distinct() == 80);

        leaves.shutdown();
        s.await("the one that stayed owns all again", () -> owned(s, stays).size() == 4);
        s.say("one left: %s", owned(s, stays));
        s.fill(producer, "Rebalance", 4, 80, 40);
        s.await("120 messages", () -> seen.distinct() == 120);
        s.say("all %d messages were consumed", seen.distinct());
    }

    private static Set<Integer> owned(Stage s, DefaultMQPushConsumer consumer) {
        Set<Integer> ids = new TreeSet<>();
        for (MessageQueue queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
            if (queue.getTopic().equals(s.name("Rebalance"))) {
                ids.add(queue.getQueueId());
            }
        }
        return ids;
    }

    static void restart(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_restart");
        s.fill(producer, "Restart", 4, 0, 40);
        Consuming.Seen before = new Consuming.Seen();
        DefaultMQPushConsumer first = Consuming.collect(s, "CG_restart", "Restart", "*", before);
        s.await("the first 40", () -> before.distinct() == 40);
        first.shutdown();

        s.fill(producer, "Restart", 4, 40, 20);
        Consuming.Seen after = new Consuming.Seen();
        Consuming.collect(s, "CG_restart", "Restart", "*", after);
        s.await("the 20 sent meanwhile", () -> after.has(40, 20));
        s.fill(producer, "Restart", 4, 60, 4);
        s.await("and 4 more", () -> after.has(60, 4));
        // What was consumed last may come again: the client's last commit races with its end.
        s.say("before: %d, after: all that was sent since, from the beginning %b", before.distinct(), after.has(0, 40));
    }

    /** Whether each broker named can be found, written to and read; uses the topic every broker has under its own name. */
    static boolean reach(String nameserver, List<String> brokers) throws Exception {
        boolean all = true;
        try (Stage s = new Stage(nameserver, "")) {
            DefaultMQProducer producer = s.producer("PG_reach");
            DefaultMQPullConsumer reader = s.pull("CG_reach");
            for (String broker : brokers) {
                List<MessageQueue> queues = producer.fetchPublishMessageQueues(broker);
                SendResult sent = producer.send(new Message(broker, "hello".getBytes(StandardCharsets.UTF_8)), queues.get(0));
                List<MessageExt> read = s.readAll(reader, sent.getMessageQueue());
                boolean found = read.get(read.size() - 1).getQueueOffset() == sent.getQueueOffset();
                System.out.printf("reach: %s on %s, sent %s, read back %s%n", queues.get(0).getTopic(), queues.get(0).getBrokerName(),
                    sent.getSendStatus(), found);
                all &= found && queues.get(0).getBrokerName().equals(broker);
            }
        }
        return all;
    }
}
