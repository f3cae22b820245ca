// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMachineRoomNearby;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByConfig;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByMachineRoom;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueConsistentHash;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Members that join, leave and are killed while messages flow: how the queues are divided, that nothing is lost, and order. */
final class Members {
    static final String VERB = "member";
    private static final String ORDERLY = "orderly";
    private static final int QUEUES = 10;

    private Members() {
    }

    /** Every strategy of the client, three members each. */
    static void strategies(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_strategies");
        s.createTopic(producer, "Strategies", QUEUES, Map.of());
        Map<String, List<DefaultMQPushConsumer>> groups = new LinkedHashMap<>();
        Consuming.Seen seen = new Consuming.Seen();
        for (String strategy : new String[] {"averagely", "circle", "hash", "config", "nearby", "room"}) {
            List<DefaultMQPushConsumer> members = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                DefaultMQPushConsumer member = s.push("CG_strategies_" + strategy);
                // The last one is in another room.
                member.setInstanceName(s.name((i < 2 ? "near-" : "far-") + strategy + i));
                member.setAllocateMessageQueueStrategy(strategy(s, strategy, i));
                member.subscribe(s.name("Strategies"), "*");
                member.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                    seen.add(messages);
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                });
                s.start(member);
                members.add(member);
            }
            groups.put(strategy, members);
        }
        say(s, groups, "averagely", List.of(4, 3, 3));
        say(s, groups, "circle", List.of(4, 3, 3));
        say(s, groups, "config", List.of(5, 3, 2));
        say(s, groups, "nearby", List.of(5, 5, 0));
        // The broker's name has no room in it.
        say(s, groups, "room", List.of(0, 0, 0));
        List<DefaultMQPushConsumer> hashed = groups.get("hash");
        s.await("each queue at one member", () -> hashed.stream().mapToInt(m -> owned(s, m, "Strategies").size()).sum() == QUEUES
            && together(s, hashed, "Strategies").size() == QUEUES);
        s.say("hash: each queue at one member");
        s.fill(producer, "Strategies", QUEUES, 0, 40);
        s.await("40 messages", () -> seen.distinct() == 40);
        s.say("all groups but that without queues consume");
    }

    private static AllocateMessageQueueStrategy strategy(Stage s, String name, int member) {
        switch (name) {
            case "averagely":
                return new AllocateMessageQueueAveragely();
            case "circle":
                return new AllocateMessageQueueAveragelyByCircle();
            case "hash":
                return new AllocateMessageQueueConsistentHash();
            case "config": {
                int[][] shares = {{0, 1, 2, 3, 4}, {5, 6, 7}, {8, 9}};
                List<MessageQueue> mine = new ArrayList<>();
                for (int id : shares[member]) {
                    mine.add(s.queue("Strategies", id));
                }
                AllocateMessageQueueByConfig configured = new AllocateMessageQueueByConfig();
                configured.setMessageQueueList(mine);
                return configured;
            }
            case "nearby":
                return new AllocateMachineRoomNearby(new AllocateMessageQueueAveragely(), new AllocateMachineRoomNearby.MachineRoomResolver() {
                    @Override
                    public String brokerDeployIn(MessageQueue queue) {
                        return "near";
                    }

                    @Override
                    public String consumerDeployIn(String client) {
                        return client.contains("near-") ? "near" : "far";
                    }
                });
            default: {
                AllocateMessageQueueByMachineRoom rooms = new AllocateMessageQueueByMachineRoom();
                rooms.setConsumeridcs(Set.of("near"));
                return rooms;
            }
        }
    }

    private static void say(Stage s, Map<String, List<DefaultMQPushConsumer>> groups, String strategy, List<Integer> shares) throws Exception {
        List<DefaultMQPushConsumer> members = groups.get(strategy);
        // Which member gets the larger share follows from the order of their ids; configured ones know theirs.
        s.await(strategy, () -> Stage.sorted(members.stream().map(m -> owned(s, m, "Strategies").size()).toList()).equals(Stage.sorted(shares)));
        s.say("%s: %s, together %s", strategy, shares, together(s, members, "Strategies"));
    }

    private static Set<Integer> together(Stage s, List<DefaultMQPushConsumer> members, String topic) {
        Set<Integer> all = new java.util.TreeSet<>();
        members.forEach(member -> all.addAll(owned(s, member, topic)));
        return all;
    }

    static Set<Integer> owned(Stage s, DefaultMQPushConsumer consumer, String topic) {
        Set<Integer> ids = new HashSet<>();
        for (MessageQueue queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
            if (queue.getTopic().equals(s.name(topic))) {
                ids.add(queue.getQueueId());
            }
        }
        return ids;
    }

    /** One to five members, of which some shut down and some are killed with all they had in hand. */
    static void churn(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_churn");
        s.createTopic(producer, "Churn", QUEUES, Map.of());
        s.fill(producer, "Churn", QUEUES, 0, 40);
        Consuming.Seen seen = new Consuming.Seen();
        DefaultMQPushConsumer stays = Consuming.collect(s, "CG_churn", "Churn", "*", seen);
        s.await("alone", () -> owned(s, stays, "Churn").size() == QUEUES);
        DefaultMQPushConsumer leaves = Consuming.collect(s, "CG_churn", "Churn", "*", seen);
        DefaultMQPushConsumer alsoStays = Consuming.collect(s, "CG_churn", "Churn", "*", seen);
        Process first = s.child(VERB, s.name("CG_churn"), s.name("Churn"));
        Process second = s.child(VERB, s.name("CG_churn"), s.name("Churn"));
        follow(first, seen::add);
        follow(second, seen::add);
        List<DefaultMQPushConsumer> here = List.of(stays, leaves, alsoStays);
        s.await("five members", () -> here.stream().allMatch(member -> owned(s, member, "Churn").size() == 2));
        s.say("five members: 2 queues each");
        s.fill(producer, "Churn", QUEUES, 40, 100);
        kill(first);
        s.fill(producer, "Churn", QUEUES, 140, 50);
        leaves.shutdown();
        s.await("three members", () -> owned(s, stays, "Churn").size() >= 3 && owned(s, alsoStays, "Churn").size() >= 3
            && owned(s, stays, "Churn").size() + owned(s, alsoStays, "Churn").size() <= 7);
        s.say("three members: the queues of the one that was killed and of the one that left are taken");
        s.fill(producer, "Churn", QUEUES, 190, 50);
        kill(second);
        s.await("two members", () -> owned(s, stays, "Churn").size() == 5 && owned(s, alsoStays, "Churn").size() == 5);
        s.fill(producer, "Churn", QUEUES, 240, 50);
        s.await("all messages", () -> seen.has(0, 290));
        s.say("two members: 5 queues each, and all 290 messages were consumed");
    }

    /** Unlike destroyForcibly of the process itself, leaves what it said last to be read. */
    private static void kill(Process member) {
        member.toHandle().destroyForcibly();
    }

    /** What a member in another process has consumed, line by line. */
    private static void follow(Process member, Consumer<String> line) {
        Thread reader = new Thread(() -> {
            try (BufferedReader lines = new BufferedReader(new InputStreamReader(member.getInputStream(), StandardCharsets.UTF_8))) {
                lines.lines().forEach(line);
            } catch (IOException | java.io.UncheckedIOException e) {
                // It was killed.
            }
        });
        reader.setDaemon(true);
        reader.start();
    }

    /** The other process: {@code Main NAMESERVER member GROUP TOPIC [orderly]}; both names as they are. Ends when it is killed. */
    static void run(String nameserver, List<String> words) throws Exception {
        Stage s = new Stage(nameserver, "");
        DefaultMQPushConsumer consumer = s.push(words.get(0));
        consumer.subscribe(words.get(1), "*");
        if (words.contains(ORDERLY)) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                messages.forEach(m -> System.out.println(m.getQueueId() + " " + m.getQueueOffset()));
                System.out.flush();
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(m -> System.out.println(Stage.text(m)));
                System.out.flush();
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        s.start(consumer);
        // Whoever started this one has gone when nothing more can be read.
        while (System.in.read() >= 0) {
            continue;
        }
        System.exit(0);
    }

    /** Orderly members come and go: no queue is ever worked on twice at a time, and none goes back. */
    static void order(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_turns");
        s.createTopic(producer, "Turns", 4, Map.of());
        Turns turns = new Turns();
        DefaultMQPushConsumer stays = orderly(s, "Turns", turns);
        s.fill(producer, "Turns", 4, 0, 40);
        s.await("the first 40", () -> turns.count() == 40);
        DefaultMQPushConsumer leaves = orderly(s, "Turns", turns);
        s.fill(producer, "Turns", 4, 40, 40);
        s.await("two members", () -> owned(s, stays, "Turns").size() == 2 && owned(s, leaves, "Turns").size() == 2);
        s.fill(producer, "Turns", 4, 80, 40);
        DefaultMQPushConsumer third = orderly(s, "Turns", turns);
        s.fill(producer, "Turns", 4, 120, 40);
        s.await("three members", () -> owned(s, third, "Turns").size() >= 1 && turns.count() == 160);
        s.fill(producer, "Turns", 4, 160, 40);
        leaves.shutdown();
        s.fill(producer, "Turns", 4, 200, 40);
        s.await("all messages", () -> turns.count() == 240);
        s.say("all %d, two at once in a queue: %d times, out of order: %d", turns.count(), turns.overlaps.get(), turns.disorder());
    }

    /** An orderly member is killed: another goes on in its queues, a lock's life later, where it was and in order. */
    static void killed(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_killed");
        s.createTopic(producer, "Killed", 4, Map.of());
        Turns turns = new Turns();
        // Its last words can be read after the other one has gone on.
        Turns before = new Turns();
        DefaultMQPushConsumer stays = orderly(s, "Killed", turns);
        s.await("alone", () -> owned(s, stays, "Killed").size() == 4);
        Process member = s.child(VERB, s.name("CG_Killed"), s.name("Killed"), ORDERLY);
        follow(member, line -> {
            String[] words = line.split(" ");
            before.take(Integer.parseInt(words[0]), Long.parseLong(words[1]));
        });
        s.await("two members", () -> owned(s, stays, "Killed").size() == 2);
        s.fill(producer, "Killed", 4, 0, 80);
        s.await("the first 80, of both", () -> turns.count() == 40 && before.count() == 40);
        s.fill(producer, "Killed", 4, 80, 40);
        kill(member);
        s.fill(producer, "Killed", 4, 120, 80);
        s.await("all queues at the one that stays", () -> owned(s, stays, "Killed").size() == 4);
        s.await("all messages", () -> turns.countWith(before) == 200);
        s.say("all %d, out of order: %d", turns.countWith(before), before.disorder() + turns.disorder());
    }

    private static DefaultMQPushConsumer orderly(Stage s, String topic, Turns turns) throws Exception {
        DefaultMQPushConsumer consumer = s.push("CG_" + topic);
        consumer.subscribe(s.name(topic), "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            turns.take(messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        s.start(consumer);
        return consumer;
    }

    /** Who is in which queue, and what came out of each, without what came twice. */
    private static final class Turns {
        private final AtomicInteger overlaps = new AtomicInteger();
        private final Map<Integer, AtomicInteger> inside = new ConcurrentHashMap<>();
        private final Map<Integer, Set<Long>> taken = new ConcurrentHashMap<>();

        void take(List<MessageExt> messages) {
            messages.forEach(m -> take(m.getQueueId(), m.getQueueOffset()));
        }

        void take(int queue, long offset) {
            AtomicInteger here = inside.computeIfAbsent(queue, id -> new AtomicInteger());
            if (here.incrementAndGet() > 1) {
                overlaps.incrementAndGet();
            }
            Set<Long> offsets = taken.computeIfAbsent(queue, id -> new LinkedHashSet<>());
            synchronized (offsets) {
                offsets.add(offset);
            }
            Thread.yield();
            here.decrementAndGet();
        }

        int count() {
            return names().size();
        }

        /** What both have taken together. */
        int countWith(Turns other) {
            Set<String> all = names();
            all.addAll(other.names());
            return all.size();
        }

        private Set<String> names() {
            Set<String> names = new HashSet<>();
            taken.forEach((queue, offsets) -> {
                synchronized (offsets) {
                    offsets.forEach(offset -> names.add(queue + " " + offset));
                }
            });
            return names;
        }

        /** How often an offset is not the one after that before it; a queue may begin anywhere. */
        int disorder() {
            int wrong = 0;
            for (Set<Long> offsets : taken.values()) {
                synchronized (offsets) {
                    Long last = null;
                    for (long offset : offsets) {
                        wrong += last == null || offset == last + 1 ? 0 : 1;
                        last = offset;
                    }
                }
            }
            return wrong;
        }
    }
}
