// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// decider ends a transaction as its body says: at once, or when the broker asks.
type decider struct {
	lock  sync.Mutex
	asked map[string]bool
}

func (d *decider) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	switch {
	case strings.HasPrefix(string(m.Body), "commit"):
		return primitive.CommitMessageState
	case strings.HasPrefix(string(m.Body), "rollback"):
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

func (d *decider) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.asked[string(m.Body)] = true
	if strings.HasSuffix(string(m.Body), "no") {
		return primitive.RollbackMessageState
	}
	return primitive.CommitMessageState
}

func (d *decider) count() int {
	d.lock.Lock()
	defer d.lock.Unlock()
	return len(d.asked)
}

// transaction commits, rolls back, and leaves open until the broker asks.
func transaction(s *stage) {
	plain := s.producer()
	_, err := plain.SendSync(context.Background(), s.message(0, "A", "k", "before"))
	s.require(err)
	d := &decider{asked: map[string]bool{}}
	p, err := rocketmq.NewTransactionProducer(d,
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{s.nameserver})),
		producer.WithGroupName(s.group()+"_transactions"),
		producer.WithInstanceName(s.instance()),
		producer.WithRetry(0))
	s.require(err)
	s.require(p.Start())
	s.shutdowns = append(s.shutdowns, p.Shutdown)
	for _, body := range []string{"commit", "rollback", "open yes", "open no"} {
		m := primitive.NewMessage(s.topic(), []byte(body))
		result, err := p.SendMessageInTransaction(context.Background(), m)
		s.require(err)
		s.say("%s: told %d, state %d", body, result.Status, result.State)
	}
	var all seen
	s.push(s.group(), "*", all.add)
	s.await("all that is committed", func() bool { return all.distinct() >= 3 })
	s.await("all questions", func() bool { return d.count() >= 2 })
	s.say("delivered %s", fmt.Sprint(all.bodies()))
}
