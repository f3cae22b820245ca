// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.Arrays;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.header.SendMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.SendMessageRequestHeaderV2;

/** What a server says no to, and how topics come to be. */
final class Refusals {
    private Refusals() {
    }

    interface Attempt {
        Object run() throws Exception;
    }

    /** The response code is what clients act on; remarks are prose and differ. */
    private static String outcome(Attempt attempt) throws Exception {
        try {
            Object result = attempt.run();
            return "accepted " + (result == null ? "" : result);
        } catch (MQBrokerException refusal) {
            return "broker code " + refusal.getResponseCode();
        } catch (MQClientException refusal) {
            return "client code " + refusal.getResponseCode();
        }
    }

    static void errors(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_errors");
        producer.setMaxMessageSize(16 << 20);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        producer.setRetryTimesWhenSendFailed(0);
        s.fill(producer, "Errors", 4, 0, 4);
        MessageQueue queue = s.queue("Errors", 0);
        Message message = s.message("Errors", "A", "k", "fine");

        byte[] limit = new byte[4 << 20];
        byte[] over = Arrays.copyOf(limit, limit.length + 1);
        s.say("body of 4 MiB: %s", outcome(() -> producer.send(new Message(s.name("Errors"), limit), queue).getSendStatus()));
        s.say("body of 4 MiB + 1: %s", outcome(() -> producer.send(new Message(s.name("Errors"), over), queue)));
        Message heavy = s.message("Errors", "A", "k", "heavy");
        heavy.putUserProperty("p", "x".repeat(32_768));
        s.say("properties over 32767 bytes: %s", outcome(() -> producer.send(heavy, queue)));
        s.say("queue 99: %s", outcome(() -> producer.send(message, s.queue("Errors", 99))));
        s.say("still serving: %s", outcome(() -> producer.send(message, queue).getSendStatus()));

        // These names are refused by the client itself, so they go to the broker as bare requests.
        for (String topic : new String[] {"bad topic", "bad/topic", "t".repeat(128), "SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"}) {
            s.say("topic '%s': code %d", topic.length() > 30 ? topic.length() + " chars" : topic, bare(s, producer, topic, 0));
        }
        s.say("queue -1, the broker picks: code %d", bare(s, producer, s.name("Errors"), -1));
        RemotingCommand unknown = remoting(producer).invokeSync(broker(producer, s), RemotingCommand.createRequestCommand(9999, null), 5000);
        s.say("request code 9999: code %d", unknown.getCode());
    }

    private static RemotingClient remoting(DefaultMQProducer producer) {
        return producer.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl().getRemotingClient();
    }

    private static String broker(DefaultMQProducer producer, Stage s) {
        return producer.getDefaultMQProducerImpl().getMqClientFactory().findBrokerAddressInPublish(Stage.BROKER);
    }

    private static int bare(Stage s, DefaultMQProducer producer, String topic, int queueId) throws Exception {
        SendMessageRequestHeader header = new SendMessageRequestHeader();
        header.setProducerGroup(s.name("PG_errors"));
        header.setTopic(topic);
        header.setDefaultTopic("TBW102");
        header.setDefaultTopicQueueNums(4);
        header.setQueueId(queueId);
        header.setSysFlag(0);
        header.setBornTimestamp(System.currentTimeMillis());
        header.setFlag(0);
        header.setReconsumeTimes(0);
        RemotingCommand request = RemotingCommand.createRequestCommand(RequestCode.SEND_MESSAGE_V2,
            SendMessageRequestHeaderV2.createSendMessageRequestHeaderV2(header));
        request.setBody(new byte[] {'x'});
        return remoting(producer).invokeSync(broker(producer, s), request, 5000).getCode();
    }

    static void autocreate(Stage s) throws Exception {
        for (int wanted : new int[] {4, 1, 6, 9}) {
            DefaultMQProducer producer = s.producer("PG_auto" + wanted);
            producer.setDefaultTopicQueueNums(wanted);
            String topic = "Auto" + wanted;
            s.say("%d queues asked, first send: %s", wanted, outcome(() -> producer.send(s.message(topic, "A", "k", "x")).getSendStatus()));
            DefaultMQProducer other = s.producer("PG_auto_other" + wanted);
            s.await("route of " + topic, () -> outcome(() -> other.fetchPublishMessageQueues(s.name(topic))).startsWith("accepted"));
            Set<Integer> ids = other.fetchPublishMessageQueues(s.name(topic)).stream().map(MessageQueue::getQueueId)
                .collect(Collectors.toCollection(TreeSet::new));
            s.say("%d queues asked, queues made: %s", wanted, ids);
        }
        DefaultMQProducer producer = s.producer("PG_auto");
        s.say("topic 'bad topic': %s", outcome(() -> producer.send(new Message("bad topic", new byte[] {1}))));
        s.say("max offset of an unknown topic: %s", outcome(() -> producer.maxOffset(s.queue("Auto4", 77))));
    }

    /** For a server with autoCreateTopicEnable=false. The topic named like the cluster is always there. */
    static void refused(Stage s) throws Exception {
        DefaultMQProducer producer = s.producer("PG_refused");
        producer.setRetryTimesWhenSendFailed(0);
        s.say("known topic: %s", outcome(() -> producer.send(new Message("DefaultCluster", new byte[] {1})).getSendStatus()));
        s.say("unknown topic: %s", outcome(() -> producer.send(s.message("Refused", "A", "k", "x"))));
        s.say("unknown topic at the broker: code %d", bare(s, producer, s.name("Refused"), 0));
        s.say("route of TBW102: %s", outcome(() -> producer.fetchPublishMessageQueues("TBW102").size()));
    }
}
