// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const (
	broker   = "broker-a"
	deadline = 60 * time.Second
)

// stage is what one scene works with: names of its own, clients that end with it, and the lines it says.
type stage struct {
	nameserver string
	name       string
	clients    int
	shutdowns  []func() error
	lines      []string
}

func (s *stage) say(format string, args ...interface{}) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *stage) require(err error) {
	if err != nil {
		panic(err)
	}
}

func (s *stage) topic() string { return "Go_" + s.name }
func (s *stage) group() string { return "GoGroup_" + s.name }

// instance keeps the clients of one process apart: without it they share one connection and one id.
func (s *stage) instance() string {
	s.clients++
	return fmt.Sprintf("%s-%d", s.name, s.clients)
}

func (s *stage) producer(options ...producer.Option) rocketmq.Producer {
	options = append([]producer.Option{
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{s.nameserver})),
		producer.WithGroupName(s.group() + "_producer"),
		producer.WithInstanceName(s.instance()),
		producer.WithQueueSelector(producer.NewManualQueueSelector()),
		producer.WithRetry(0),
	}, options...)
	p, err := rocketmq.NewProducer(options...)
	s.require(err)
	s.require(p.Start())
	s.shutdowns = append(s.shutdowns, p.Shutdown)
	return p
}

type listener func(*primitive.MessageExt) consumer.ConsumeResult

// push starts a consumer of the scene's topic.
func (s *stage) push(group, expression string, take listener, options ...consumer.Option) rocketmq.PushConsumer {
	return s.consume(s.topic(), group, expression, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		result := consumer.ConsumeSuccess
		for _, m := range messages {
			result = take(m)
		}
		return result, nil
	}, options...)
}

// batchListener is what the client itself calls.
type batchListener func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

// consume starts a consumer of any topic.
func (s *stage) consume(topic, group, expression string, take batchListener, options ...consumer.Option) rocketmq.PushConsumer {
	options = append([]consumer.Option{
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{s.nameserver})),
		consumer.WithGroupName(group),
		consumer.WithInstance(s.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, options...)
	c, err := rocketmq.NewPushConsumer(options...)
	s.require(err)
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: expression}
	s.require(c.Subscribe(topic, selector, take))
	s.require(c.Start())
	var once sync.Once
	s.shutdowns = append(s.shutdowns, func() (err error) {
		once.Do(func() { err = c.Shutdown() })
		return err
	})
	return c
}

func (s *stage) close() {
	for _, shutdown := range s.shutdowns {
		_ = shutdown()
	}
}

func (s *stage) message(queue int, tag, key, body string) *primitive.Message {
	m := primitive.NewMessage(s.topic(), []byte(body))
	if tag != "" {
		m.WithTag(tag)
	}
	m.WithKeys([]string{key})
	m.Queue = &primitive.MessageQueue{Topic: s.topic(), BrokerName: broker, QueueId: queue}
	return m
}

// fill sends `count` numbered messages round four queues.
func (s *stage) fill(p rocketmq.Producer, from, count int) {
	for i := from; i < from+count; i++ {
		result, err := p.SendSync(context.Background(), s.message(i%4, "T", fmt.Sprint("k", i), fmt.Sprintf("body %02d", i)))
		s.require(err)
		if result.Status != primitive.SendOK {
			panic(fmt.Sprint("send status ", result.Status))
		}
	}
}

// await asks again until the probe holds; the only waiting in a scene.
func (s *stage) await(what string, probe func() bool) {
	end := time.Now().Add(deadline)
	for !probe() {
		if time.Now().After(end) {
			panic(fmt.Sprintf("waited %v for: %s", deadline, what))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// seen counts how often each body arrived.
type seen struct {
	lock  sync.Mutex
	times map[string]int
}

func (s *seen) add(m *primitive.MessageExt) consumer.ConsumeResult {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.times == nil {
		s.times = map[string]int{}
	}
	s.times[string(m.Body)]++
	return consumer.ConsumeSuccess
}

func (s *seen) distinct() int {
	s.lock.Lock()
	defer s.lock.Unlock()
	return len(s.times)
}

// has tells whether all of `count` messages of a fill, from the given one on, arrived.
func (s *seen) has(from, count int) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	for i := from; i < from+count; i++ {
		if s.times[fmt.Sprintf("body %02d", i)] == 0 {
			return false
		}
	}
	return true
}

func (s *seen) bodies() []string {
	s.lock.Lock()
	defer s.lock.Unlock()
	var bodies []string
	for body := range s.times {
		bodies = append(bodies, body)
	}
	sort.Strings(bodies)
	return bodies
}
