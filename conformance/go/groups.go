// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// owners remembers which member was the last to take a message of each queue, and everything that was taken.
type owners struct {
	lock  sync.Mutex
	owner map[int]int
	all   seen
}

func (o *owners) take(member int) listener {
	return func(m *primitive.MessageExt) consumer.ConsumeResult {
		o.lock.Lock()
		defer o.lock.Unlock()
		o.owner[m.Queue.QueueId] = member
		return o.all.add(m)
	}
}

// sizes tells how many queues each member takes messages of, in order of size.
func (o *owners) sizes() string {
	o.lock.Lock()
	defer o.lock.Unlock()
	counts := map[int]int{}
	for _, member := range o.owner {
		counts[member]++
	}
	var sizes []int
	for _, count := range counts {
		sizes = append(sizes, count)
	}
	sort.Ints(sizes)
	return fmt.Sprint(sizes)
}

// circle has members come and go in a group that divides queues by turns, while messages flow.
func circle(s *stage) {
	p := s.producer()
	sent := 4
	s.fill(p, 0, sent)
	members := map[int]rocketmq.PushConsumer{}
	o := &owners{owner: map[int]int{}}
	for _, step := range []struct {
		comes, goes int
		sizes       string
	}{{1, 0, "[4]"}, {2, 0, "[2 2]"}, {3, 0, "[1 1 2]"}, {0, 2, "[2 2]"}, {4, 0, "[1 1 2]"}, {0, 1, "[2 2]"}, {0, 3, "[4]"}} {
		if step.comes != 0 {
			members[step.comes] = s.push(s.group(), "*", o.take(step.comes), consumer.WithStrategy(consumer.AllocateByAveragelyCircle))
		} else {
			s.require(members[step.goes].Shutdown())
		}
		s.await(fmt.Sprintf("%+v", step), func() bool {
			s.fill(p, sent, 4)
			sent += 4
			return o.sizes() == step.sizes
		})
		s.await("all sent until then", func() bool { return o.all.has(0, sent) })
		s.say("%d comes, %d goes: %s", step.comes, step.goes, step.sizes)
	}
	s.say("nothing was lost")
}

// turns has one member after the other consume in order. They do not overlap: this client gives the lock of a queue back
// when it ends, but not when it hands the queue to another member, who would wait until the lock is over.
func turns(s *stage) {
	p := s.producer()
	var lock sync.Mutex
	reached := map[int]int64{}
	var faults []string
	sent := 0
	for member := 1; member <= 3; member++ {
		s.fill(p, sent, 40)
		sent += 40
		var mine seen
		first := map[int]bool{}
		c := s.push(s.group(), "*", func(m *primitive.MessageExt) consumer.ConsumeResult {
			lock.Lock()
			defer lock.Unlock()
			next, known := reached[m.Queue.QueueId]
			// The one before may not have said what it consumed last.
			again := !first[m.Queue.QueueId] && known && m.QueueOffset < next
			if m.QueueOffset != next && !again {
				faults = append(faults, fmt.Sprintf("member %d took %d of queue %d for %d", member, m.QueueOffset, m.Queue.QueueId, next))
			}
			first[m.Queue.QueueId] = true
			reached[m.Queue.QueueId] = m.QueueOffset + 1
			return mine.add(m)
		}, consumer.WithConsumerOrder(true))
		s.await("what was sent since", func() bool { return mine.has(sent-40, 40) })
		s.fill(p, sent, 8)
		sent += 8
		s.await("and 8 more", func() bool { return mine.has(sent-8, 8) })
		s.require(c.Shutdown())
		s.say("member %d took its 48", member)
	}
	lock.Lock()
	defer lock.Unlock()
	s.say("out of order %v", faults)
}

// broadcast has two members that both get everything, and one that comes back to where it was.
func broadcast(s *stage) {
	p := s.producer()
	s.fill(p, 0, 20)
	member := func(number int, all *seen) rocketmq.PushConsumer {
		return s.push(s.group(), "*", all.add, consumer.WithConsumerModel(consumer.BroadCasting),
			consumer.WithInstance(fmt.Sprint("go-broadcast-", number)))
	}
	var first, second, again seen
	leaves := member(1, &first)
	member(2, &second)
	for _, all := range []*seen{&first, &second} {
		s.await("the first 20 at each", func() bool { return all.has(0, 20) })
	}
	s.fill(p, 20, 20)
	for _, all := range []*seen{&first, &second} {
		s.await("the next 20 at each", func() bool { return all.has(20, 20) })
	}
	s.require(leaves.Shutdown())
	s.fill(p, 40, 20)
	s.await("the one that stayed sees what is new", func() bool { return second.has(40, 20) })
	member(1, &again)
	s.await("the one that was away sees it too", func() bool { return again.has(40, 20) })
	// What it consumed last may come again, but not everything.
	s.say("each saw %d and %d; back again, from the beginning %t", first.distinct(), second.distinct(), again.has(0, 40))
}

// retry has a message fail until it is a dead letter.
func retry(s *stage) {
	p := s.producer()
	a, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{s.nameserver})))
	s.require(err)
	s.shutdowns = append(s.shutdowns, a.Close)
	known := func(topic string) {
		s.await(topic, func() bool {
			queues, err := a.FetchPublishMessageQueues(context.Background(), topic)
			return err == nil && len(queues) == 1
		})
	}
	// The first member of a group makes its retry topic, and may look for it too early: it would look again in half a minute.
	sendOne(s, p, s.message(0, "T", "k", "before"))
	var before seen
	early := s.push(s.group(), "*", before.add)
	s.await("what was sent before", func() bool { return before.distinct() == 1 })
	known("%RETRY%" + s.group())
	s.require(early.Shutdown())
	for _, body := range []string{"good", "once", "always"} {
		sendOne(s, p, s.message(0, "T", "k-"+body, body))
	}
	var lock sync.Mutex
	deliveries := map[string][]string{}
	fails := func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		lock.Lock()
		defer lock.Unlock()
		m := messages[0]
		body := string(m.Body)
		deliveries[body] = append(deliveries[body], fmt.Sprintf("%d of %t", m.ReconsumeTimes, m.Topic == s.topic()))
		if body == "before" || body == "good" || body == "once" && m.ReconsumeTimes == 1 {
			return consumer.ConsumeSuccess, nil
		}
		if concurrently, ok := primitive.GetConcurrentlyCtx(ctx); ok {
			concurrently.DelayLevelWhenNextConsume = 1
		}
		return consumer.ConsumeRetryLater, nil
	}
	s.consume(s.topic(), s.group(), "*", fails, consumer.WithMaxReconsumeTimes(2))
	dead := "%DLQ%" + s.group()
	known(dead)
	letters := make(chan *primitive.MessageExt, 4)
	s.consume(dead, s.group()+"_dead", "*", func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			letters <- m
		}
		return consumer.ConsumeSuccess, nil
	})
	select {
	case letter := <-letters:
		s.say("dead letter: %s after %d, %v", letter.Body, letter.ReconsumeTimes, properties(letter))
	case <-time.After(deadline):
		panic("no dead letter")
	}
	lock.Lock()
	defer lock.Unlock()
	for _, body := range []string{"good", "once", "always"} {
		s.say("%s: delivered %v", body, deliveries[body])
	}
}

// properties tells all that is neither an id nor a place.
func properties(m *primitive.MessageExt) []string {
	var told []string
	for name, value := range m.GetProperties() {
		switch name {
		case "UNIQ_KEY", "ORIGIN_MESSAGE_ID", "DLQ_ORIGIN_MESSAGE_ID", "MIN_OFFSET", "MAX_OFFSET", "CONSUME_START_TIME":
			told = append(told, name)
		default:
			told = append(told, name+"="+value)
		}
	}
	sort.Strings(told)
	return told
}
