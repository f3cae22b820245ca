// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;

/** Transactional messages: committed, rolled back, and left open until the broker asks. */
final class Transactions {
    static final List<String> VERBS = List.of("halves", "answers");
    private static final String[] STATES = {"COMMIT_MESSAGE", "ROLLBACK_MESSAGE", "UNKNOW"};

    private Transactions() {
    }

    /** Does what the message's tag says; a message that was left open is decided when the broker asks. */
    private static final class Listener implements TransactionListener {
        private final Set<String> asked = new ConcurrentSkipListSet<>();

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object state) {
            return (LocalTransactionState) state;
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            asked.add(String.format("%s of %s queue %s, tags %s keys %s check %s", Stage.text(message), message.getTopic(),
                message.getQueueId(), message.getTags(), message.getKeys(),
                message.getProperty(MessageConst.PROPERTY_TRANSACTION_CHECK_TIMES)));
            return Stage.text(message).endsWith("no") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE;
        }
    }

    static void transactions(Stage s) throws Exception {
        Listener listener = new Listener();
        TransactionMQProducer producer = s.transactional("PG_transaction", listener);
        // The topic, with a known number of queues.
        producer.send(s.message("Transaction", "A", "k", "before"), s.queue("Transaction", 0));
        for (int i = 0; i < 12; i++) {
            LocalTransactionState state = LocalTransactionState.valueOf(STATES[i % 3]);
            String decided = i % 2 == 0 ? "yes" : "no";
            Message message = s.message("Transaction", state.name(), "k" + i, "number " + i + " " + decided);
            message.putUserProperty("colour", "blå");
            TransactionSendResult result = producer.sendMessageInTransaction(message, state);
            s.require(result.getLocalTransactionState() == state, "state %s", result.getLocalTransactionState());
            s.require(result.getTransactionId().equals(result.getMsgId()), "transaction id");
            if (i < 3) {
                s.say("%s told %s", state, result.getSendStatus());
            }
        }
        DefaultMQPullConsumer reader = s.pull("CG_transaction");
        // Four committed at once, two of the four that were left open, and the one before.
        s.await("all that is committed", () -> all(s, reader).size() == 7);
        s.await("all questions", () -> listener.asked.size() >= 4);
        List<String> asked = listener.asked.stream().map(line -> line.replaceAll(" queue \\d", "").replace(s.name("Transaction"), "T"))
            .filter(line -> line.endsWith(" 1")).sorted().toList();
        s.say("asked about %s", asked);
        List<MessageExt> delivered = all(s, reader);
        s.say("delivered %s", Stage.sorted(delivered.stream().map(Stage::text).toList()));
        MessageExt one = delivered.stream().filter(m -> Stage.text(m).equals("number 0 yes")).findFirst().orElseThrow();
        Map<String, String> properties = new TreeMap<>(one.getProperties());
        s.require(properties.get("__transactionId__").equals(one.getMsgId()), "transaction id of the message");
        properties.replace("__transactionId__", "id");
        properties.replace(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX, "id");
        properties.keySet().removeIf(name -> name.endsWith("_OFFSET"));
        s.say("a committed one: sysFlag=%d flag=%d half=%s properties=%s", one.getSysFlag(), one.getFlag(),
            one.getPreparedTransactionOffset() > 0, properties);
    }

    private static List<MessageExt> all(Stage s, DefaultMQPullConsumer reader) throws Exception {
        List<MessageExt> messages = new ArrayList<>();
        for (int id = 0; id < 4; id++) {
            messages.addAll(s.readAll(reader, s.queue("Transaction", id)));
        }
        return messages;
    }

    /** {@code halves COUNT} leaves transactions open for another server; {@code answers COUNT} commits them when asked. */
    static void run(String nameserver, List<String> words) throws Exception {
        int count = Integer.parseInt(words.get(1));
        Stage s = new Stage(nameserver, "");
        Listener listener = new Listener();
        TransactionMQProducer producer = s.transactional("PG_halves", listener);
        if (words.get(0).equals("halves")) {
            producer.send(s.message("Transaction", "A", "k", "before"), s.queue("Transaction", 0));
            for (int i = 0; i < count; i++) {
                producer.sendMessageInTransaction(s.message("Transaction", "A", "k", "open " + i), LocalTransactionState.UNKNOW);
                producer.sendMessageInTransaction(s.message("Transaction", "A", "k", "closed " + i), LocalTransactionState.ROLLBACK_MESSAGE);
                producer.sendMessageInTransaction(s.message("Transaction", "A", "k", "done " + i), LocalTransactionState.COMMIT_MESSAGE);
            }
            DefaultMQPullConsumer reader = s.pull("CG_halves");
            s.await("what is committed at once", () -> all(s, reader).size() == count + 1);
            // Until the reference has written down what has ended.
            Thread.sleep(4000);
            System.out.printf("halves: %d left open%n", count);
            System.exit(0);
        }
        // A producer is known to the brokers that it has sent something to.
        producer.send(s.message("Awake", "A", "k", "here I am"));
        DefaultMQPullConsumer reader = s.pull("CG_halves");
        s.await("all that was left open", () -> Set.copyOf(all(s, reader).stream().map(Stage::text).toList()).size() >= 2 * count + 1);
        Thread.sleep(3000);
        List<String> bodies = all(s, reader).stream().map(Stage::text).toList();
        boolean complete = Set.copyOf(bodies).size() == 2 * count + 1 && bodies.stream().noneMatch(body -> body.startsWith("closed"));
        boolean once = bodies.size() == 2 * count + 1;
        System.out.printf("answers: %d delivered, %s%n", bodies.size(), !complete ? Stage.sorted(bodies) : once ? "each once" : "some again");
        System.exit(complete ? 0 : 1);
    }
}
