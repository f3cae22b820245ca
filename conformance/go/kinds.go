// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func delay(s *stage) {
	p := s.producer()
	sendOne(s, p, s.message(0, "A", "k", "at once"))
	for i := 0; i < 10; i++ {
		m := s.message(0, "A", "k", fmt.Sprint("later ", i))
		m.WithDelayTimeLevel(1)
		result, err := p.SendSync(context.Background(), m)
		s.require(err)
		if i == 0 {
			s.say("told status=%d queue=%d", result.Status, result.MessageQueue.QueueId)
		}
	}
	arrived := make(chan *primitive.MessageExt, 16)
	s.push(s.group(), "A", func(m *primitive.MessageExt) consumer.ConsumeResult {
		arrived <- m
		return consumer.ConsumeSuccess
	}, consumer.WithConsumeGoroutineNums(1), consumer.WithConsumerOrder(true))
	early := 0
	for i := 0; i < 11; i++ {
		m := <-arrived
		if m.GetProperty("DELAY") != "" && m.StoreTimestamp-m.BornTimestamp < 1000 {
			early++
		}
		s.say("at %d %s delay=%s", m.QueueOffset, m.Body, m.GetProperty("DELAY"))
	}
	s.say("%d early", early)
}

func request(s *stage) {
	replier := s.producer(producer.WithGroupName(s.group()+"_replier"), producer.WithQueueSelector(producer.NewRandomQueueSelector()))
	asker := s.producer()
	sendOne(s, asker, s.message(0, "none", "k", "makes the topic"))
	told := make(chan string, 16)
	s.push(s.group(), "ask", func(m *primitive.MessageExt) consumer.ConsumeResult {
		reply, err := consumer.CreateReplyMessage(m, nil)
		if err == nil {
			reply.Body = []byte("reply to " + string(m.Body))
			var result *primitive.SendResult
			if result, err = replier.SendSync(context.Background(), reply); err == nil {
				told <- fmt.Sprintf("status=%d queue=%d", result.Status, result.MessageQueue.QueueId)
			}
		}
		if err != nil {
			told <- "an error"
		}
		return consumer.ConsumeSuccess
	})
	for _, body := range []string{"one", "two"} {
		reply, err := asker.Request(context.Background(), 30*time.Second, s.message(0, "ask", "k", body))
		s.require(err)
		s.say("%s, correlated %v", reply.Body, reply.GetProperty("CORRELATION_ID") != "")
		s.say("the replier is told %s", <-told)
	}
	if _, err := asker.Request(context.Background(), time.Second, s.message(0, "nobody", "k", "three")); err != nil {
		s.say("a request that nobody answers: an error")
	}
}
