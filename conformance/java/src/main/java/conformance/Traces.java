// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Clients that trace their messages to a topic of the broker. */
final class Traces {
    private Traces() {
    }

    static void trace(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_trace", true);
        SendResult sent = producer.send(s.message("Trace", "A", "traced", "traced"), s.queue("Trace", 0));
        s.say("told region=%s trace=%s", sent.getRegionId(), sent.isTraceOn());

        Consuming.Seen seen = new Consuming.Seen();
        DefaultMQPushConsumer consumer = s.push("CG_trace");
        consumer.setEnableTrace(true);
        consumer.subscribe(s.name("Trace"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            seen.add(messages);
            messages.forEach(m -> s.say("received region=%s trace=%s", m.getProperty("MSG_REGION"), m.getProperty("TRACE_ON")));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        s.start(consumer);
        s.await("the message", () -> seen.distinct() == 1);

        DefaultMQPullConsumer reader = s.pull("CG_trace_reader");
        List<String> traces = new ArrayList<>();
        s.await("three traces", () -> {
            traces.clear();
            traces.addAll(traces(s, reader, sent.getMsgId()));
            return traces.size() == 3;
        });
        traces.stream().sorted().forEach(s::say);
    }

    /** What was traced about one message, without times, ids and addresses. */
    private static List<String> traces(Stage s, DefaultMQPullConsumer reader, String id) throws Exception {
        List<String> found = new ArrayList<>();
        for (MessageQueue queue : queues(reader)) {
            for (MessageExt m : s.readAll(reader, queue)) {
                for (String line : Stage.text(m).split("\u0002")) {
                    if (line.contains(id)) {
                        found.add(describe(s, m, line.split("\u0001"), id));
                    }
                }
            }
        }
        return found;
    }

    /** None until the first trace has made the topic. */
    private static Set<MessageQueue> queues(DefaultMQPullConsumer reader) {
        try {
            return reader.fetchSubscribeMessageQueues("RMQ_SYS_TRACE_TOPIC");
        } catch (MQClientException none) {
            return Set.of();
        }
    }

    private static String describe(Stage s, MessageExt m, String[] words, String id) {
        List<String> told = new ArrayList<>();
        for (String word : words) {
            if (word.equals(id)) {
                told.add("<id>");
            } else if (word.startsWith(s.name("Trace")) || word.startsWith(s.name("PG_")) || word.startsWith(s.name("CG_"))
                || List.of("Pub", "SubBefore", "SubAfter", "DefaultRegion", "A", "traced", "true", "false").contains(word)) {
                told.add(word);
            }
        }
        return String.format("%s, found by its id: %s", told, m.getKeys().contains(id));
    }
}
