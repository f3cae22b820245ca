// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
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
