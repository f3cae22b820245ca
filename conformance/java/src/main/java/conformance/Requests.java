// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;

/** Requests and replies: `producer.request(...)` on one side, a consumer that answers on the other. */
final class Requests {
    private static final long PATIENCE_MS = 30_000;

    private Requests() {
    }

    static void request(Stage s) throws Exception {
        DefaultMQProducer replier = s.producer("PG_replier");
        replier.send(s.message("Request", "none", "k", "makes the topic"), s.queue("Request", 0));
        AtomicReference<String> told = new AtomicReference<>();
        AtomicReference<MessageExt> kept = new AtomicReference<>();
        DefaultMQPushConsumer consumer = s.push("CG_replier");
        consumer.subscribe(s.name("Request"), "ask || keep");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt m : messages) {
                if (m.getTags().equals("keep")) {
                    kept.set(m);
                    continue;
                }
                try {
                    String large = Stage.text(m).startsWith("large") ? "x".repeat(20_000) : "";
                    Message reply = MessageUtil.createReplyMessage(m, ("reply to " + Stage.text(m) + large).getBytes(StandardCharsets.UTF_8));
                    SendResult result = replier.send(reply, PATIENCE_MS);
                    told.set(result.getSendStatus() + " queue=" + result.getMessageQueue().getQueueId());
                } catch (Exception failure) {
                    told.set(failure.toString());
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        s.start(consumer);

        DefaultMQProducer asker = s.producer("PG_asker");
        Message reply = asker.request(s.message("Request", "ask", "k", "one"), PATIENCE_MS);
        s.say("%s; type=%s for me=%s correlated=%s pushed=%s arrived=%s", Stage.text(reply), reply.getProperty(MessageConst.PROPERTY_MESSAGE_TYPE),
            asker.buildMQClientId().equals(reply.getProperty(MessageConst.PROPERTY_MESSAGE_REPLY_TO_CLIENT)),
            reply.getProperty(MessageConst.PROPERTY_CORRELATION_ID) != null, reply.getProperty("PUSH_REPLY_TIME") != null,
            reply.getProperty("ARRIVE_TIME") != null);
        s.await("the answer to the replier", () -> told.get() != null);
        s.say("the replier is told %s", told.get());
        s.say("of %d bytes", asker.request(s.message("Request", "ask", "k", "large "), PATIENCE_MS).getBody().length);

        CompletableFuture<String> later = new CompletableFuture<>();
        asker.request(s.message("Request", "ask", "k", "two"), new RequestCallback() {
            @Override
            public void onSuccess(Message message) {
                later.complete(Stage.text(message));
            }

            @Override
            public void onException(Throwable failure) {
                later.completeExceptionally(failure);
            }
        }, PATIENCE_MS);
        s.say("later: %s", later.get(Stage.DEADLINE_MS, TimeUnit.MILLISECONDS));

        try {
            asker.request(s.message("Request", "keep", "k", "three"), 2000);
            s.say("a request that nobody answers: answered");
        } catch (RequestTimeoutException late) {
            s.say("a request that nobody answers: timed out");
        }
        s.await("the request that is kept", () -> kept.get() != null);
        asker.shutdown();
        s.await("the asker to be gone", () -> !isTaken(s, replier, kept.get()));
        s.say("a reply to one who is gone: %s", refusal(s, replier, kept.get()));
    }

    private static boolean isTaken(Stage s, DefaultMQProducer replier, MessageExt request) throws Exception {
        return refusal(s, replier, request) == null;
    }

    private static String refusal(Stage s, DefaultMQProducer replier, MessageExt request) throws Exception {
        try {
            replier.setRetryTimesWhenSendFailed(0);
            replier.send(MessageUtil.createReplyMessage(request, "too late".getBytes(StandardCharsets.UTF_8)), PATIENCE_MS);
            return null;
        } catch (MQClientException failed) {
            boolean isRefused = failed.getCause() instanceof MQBrokerException;
            s.require(isRefused, "not refused but %s", failed);
            MQBrokerException refused = (MQBrokerException) failed.getCause();
            return refused.getErrorMessage().contains("not found") ? "code " + refused.getResponseCode() : null;
        }
    }
}
