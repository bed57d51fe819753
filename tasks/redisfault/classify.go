package redisfault

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Of finds the row of an error from a call to Redis, however it is wrapped. It is nil for
// nil, redis.Nil, a cancelled context, and replies without a row, such as WRONGTYPE: those
// are bugs of ours.
//
// It takes every network error for one of Redis: pass it no others. The row is part of the
// table and must not be changed.
func Of(err error) *Fault {
	if err == nil || err == redis.Nil || errors.Is(err, context.Canceled) {
		return nil
	}
	away := false
	for _, leaf := range leaves(err, nil) {
		text, replied := replyOf(leaf)
		if replied {
			if f := byReply(text); f != nil {
				return f
			}
			continue
		}
		away = away || isAway(leaf)
	}
	if f := byText(err.Error(), clientOf); f != nil {
		return f
	}
	if away {
		return ByCode(Away)
	}
	return nil
}

// leaves are the innermost errors of a tree, and the errors of Redis and of networks on the
// way.
func leaves(err error, to []error) []error {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			to = leaves(inner, to)
		}
		return to
	case redis.Error:
		return append(to, err)
	case net.Error:
		return append(to, err)
	}
	if inner := errors.Unwrap(err); inner != nil {
		return leaves(inner, to)
	}
	return append(to, err)
}

// asynqSays precedes the text of the error of an asynq script.
// Source: internal/rdb of asynq v0.26, runScript.
const asynqSays = "redis eval error: "

// replyOf is the reply of Redis in err; false if err is not a reply.
func replyOf(err error) (string, bool) {
	var reply redis.Error
	if errors.As(err, &reply) {
		return reply.Error(), true
	}
	if _, text, ok := strings.Cut(err.Error(), asynqSays); ok {
		return text, isReply(text)
	}
	return "", false
}

// isReply tells a reply, whose first word is in upper case, from the text of a network
// error, such as "dial tcp …" or "EOF".
func isReply(text string) bool {
	word, _, more := strings.Cut(text, " ")
	return more && word == strings.ToUpper(word)
}

func isAway(err error) bool {
	if _, text, ok := strings.Cut(err.Error(), asynqSays); ok {
		return text != context.Canceled.Error()
	}
	var network net.Error
	if errors.As(err, &network) {
		return true
	}
	return slices.ContainsFunc([]error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, context.DeadlineExceeded, redis.ErrPoolTimeout, redis.ErrPoolExhausted,
	}, func(target error) bool { return errors.Is(err, target) })
}

// byReply finds the row of a reply of Redis.
func byReply(text string) *Fault {
	word, rest, _ := strings.Cut(text, " ")
	if f := byWord(word); f != nil || word != "ERR" {
		return f
	}
	if f := byText(text, repliesOf); f != nil {
		return f
	}
	word, _, _ = strings.Cut(rest, " ")
	if f := byWord(word); f != nil {
		return f
	}
	// The refusal within a script follows the position in the script: "@user_script:1: -OOM …".
	script := strings.HasPrefix(rest, "Error running script")
	for _, word := range strings.Fields(rest) {
		if bare := strings.TrimPrefix(word, "-"); script || bare != word {
			if f := byWord(bare); f != nil {
				return f
			}
		}
	}
	return nil
}

func byWord(word string) *Fault {
	word = strings.TrimPrefix(word, "-")
	for i := range table {
		if slices.Contains(table[i].replies, word) {
			return &table[i]
		}
	}
	return nil
}

func byText(text string, parts func(*Fault) []string) *Fault {
	for i := range table {
		if slices.ContainsFunc(parts(&table[i]), func(part string) bool { return strings.Contains(text, part) }) {
			return &table[i]
		}
	}
	return nil
}

func repliesOf(f *Fault) []string { return f.texts }
func clientOf(f *Fault) []string  { return f.client }
