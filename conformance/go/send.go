// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sort"
	"strings"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func receipt(r *primitive.SendResult) string {
	ids := strings.Split(r.OffsetMsgID, ",")
	return fmt.Sprintf("status=%d queue=%d offset=%d region=%s trace=%v ids=%d offsetIds=%d of %d chars transaction=%v",
		r.Status, r.MessageQueue.QueueId, r.QueueOffset, r.RegionID, r.TraceOn, len(strings.Split(r.MsgID, ",")),
		len(ids), len(ids[0]), r.TransactionID == r.MsgID)
}

func send(s *stage) {
	ctx := context.Background()
	p := s.producer()
	for _, body := range []string{"one", "two"} {
		result, err := p.SendSync(ctx, s.message(0, "A", "k", body))
		s.require(err)
		s.say("sync %s", receipt(result))
	}

	answer := make(chan string, 1)
	s.require(p.SendAsync(ctx, func(_ context.Context, result *primitive.SendResult, err error) {
		if err != nil {
			answer <- "error"
			return
		}
		answer <- receipt(result)
	}, s.message(1, "A", "k", "async")))
	s.say("async %s", <-answer)

	for i := 0; i < 10; i++ {
		s.require(p.SendOneWay(ctx, s.message(2, "A", "k", fmt.Sprint("oneway ", i))))
	}
	var batch []*primitive.Message
	for i := 0; i < 5; i++ {
		batch = append(batch, s.message(3, "A", "k", fmt.Sprint("batch ", i)))
	}
	result, err := p.SendSync(ctx, batch...)
	s.require(err)
	s.say("batch %s", receipt(result))
	result, err = p.SendSync(ctx, s.message(3, "A", "k", "after"))
	s.require(err)
	s.say("after the batch %s", receipt(result))

	var all seen
	s.push(s.group(), "*", all.add)
	s.await("all sends", func() bool { return all.distinct() >= 2+1+10+5+1 })
	s.say("stored %v", all.bodies())
}

func order(s *stage) {
	p := s.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	where := map[string][]int64{}
	queues := map[string]map[int]bool{}
	for i := 0; i < 40; i++ {
		key := fmt.Sprint("order-", i%4)
		m := s.message(0, "A", key, fmt.Sprintf("%s step %d", key, i/4))
		m.WithShardingKey(key)
		result, err := p.SendSync(context.Background(), m)
		s.require(err)
		where[key] = append(where[key], result.QueueOffset)
		if queues[key] == nil {
			queues[key] = map[int]bool{}
		}
		queues[key][result.MessageQueue.QueueId] = true
	}
	for i := 0; i < 4; i++ {
		key := fmt.Sprint("order-", i)
		rising := sort.SliceIsSorted(where[key], func(a, b int) bool { return where[key][a] < where[key][b] })
		s.say("%s: %v, %d sends, offsets rising %v", key, queues[key], len(where[key]), rising)
	}
}

func autocreate(s *stage) {
	p := s.producer(producer.WithQueueSelector(producer.NewRoundRobinQueueSelector()))
	used := map[int]int{}
	for i := 0; i < 12; i++ {
		result, err := p.SendSync(context.Background(), s.message(0, "A", "k", "x"))
		s.require(err)
		used[result.MessageQueue.QueueId]++
	}
	s.say("12 sends in turn, by queue: %v", used)
}

func refusals(s *stage) {
	p := s.producer()
	attempt := func(what string, m *primitive.Message) {
		result, err := p.SendSync(context.Background(), m)
		switch {
		case err != nil:
			// The prose of a refusal differs between servers, the code in it does not.
			s.say("%s: %s", what, strings.SplitN(err.Error(), ",", 2)[0])
		default:
			s.say("%s: status %d", what, result.Status)
		}
	}
	attempt("fine", s.message(0, "A", "k", "fine"))
	attempt("queue 99", s.message(99, "A", "k", "x"))
	heavy := s.message(0, "A", "k", "heavy")
	heavy.WithProperty("p", strings.Repeat("x", 32768))
	attempt("properties over 32767 bytes", heavy)
	system := s.message(0, "A", "k", "x")
	system.Topic, system.Queue.Topic = "SCHEDULE_TOPIC_XXXX", "SCHEDULE_TOPIC_XXXX"
	attempt("system topic", system)
	attempt("still serving", s.message(0, "A", "k", "fine"))
}

func roundtrip(s *stage) {
	p := s.producer()
	var messages []*primitive.Message
	messages = append(messages, s.message(0, "TagA", "key1 key2", "plain"))
	messages = append(messages, s.message(0, "标签", "ключ", "тело 消息 🚀"))
	user := s.message(0, "U", "u", "user properties")
	user.WithProperty("colour", "blå")
	user.WithProperty("two words", "a=b;c")
	user.Flag = 42
	messages = append(messages, user)
	messages = append(messages, s.message(0, "Zip", "zip", strings.Repeat("compressible ", 5000)))
	for _, m := range messages {
		sendOne(s, p, m)
	}
	arrived := make(chan *primitive.MessageExt, 16)
	s.push(s.group(), "*", func(m *primitive.MessageExt) consumer.ConsumeResult {
		arrived <- m
		return consumer.ConsumeSuccess
	}, consumer.WithConsumeGoroutineNums(1), consumer.WithConsumerOrder(true))
	for range messages {
		m := <-arrived
		body := string(m.Body)
		if len(body) > 100 {
			body = fmt.Sprint(len(body), " bytes")
		}
		s.say("at %d tags=%s keys=%s flag=%d sysFlag=%d crc=%d size=%d reconsumed=%d body=%s colour=%s two words=%s region=%s",
			m.QueueOffset, m.GetTags(), m.GetKeys(), m.Flag, m.SysFlag, m.BodyCRC, m.StoreSize, m.ReconsumeTimes, body,
			m.GetProperty("colour"), m.GetProperty("two words"), m.GetProperty("MSG_REGION"))
	}
}

func sendOne(s *stage, p rocketmq.Producer, m *primitive.Message) {
	_, err := p.SendSync(context.Background(), m)
	s.require(err)
}
