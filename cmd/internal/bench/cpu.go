package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/detachd/detachd/cmd/internal/drill"
	"github.com/detachd/detachd/tasks/record"
)

// cpu is B12: the CPU time of a worker and of Redis for each desktop, from the acceptance of the
// operations until all desktops are confirmed. Both are processes of their own, so the producer,
// the cloud and this process are not in it. Medians of three runs.
func cpu(e *env) ([]figure, error) {
	const ops, each = 2, 10_000
	var workers, redises []float64
	for range 3 {
		w, r, err := e.cpuOf(ops, each)
		if err != nil {
			return nil, err
		}
		const micros = float64(time.Microsecond)
		workers, redises = append(workers, float64(w)/micros/(ops*each)), append(redises, float64(r)/micros/(ops*each))
	}
	perDesktop := func(v []float64) string {
		return fmt.Sprintf("%.1f us (%.1f to %.1f)", drill.Quantile(v, .5), slices.Min(v), slices.Max(v))
	}
	return []figure{{"B12 CPU a desktop until confirmed, worker", perDesktop(workers), "Redis " + perDesktop(redises),
		drill.Quantile(workers, .5) / drill.Quantile(redises, .5), "no goal", true}}, nil
}

func (e *env) cpuOf(ops, each int) (ofWorker, ofRedis time.Duration, err error) {
	e.rdb.FlushAll(e.ctx)
	c, err := e.cloud(ops*each, 50*time.Millisecond)
	if err != nil {
		return 0, 0, err
	}
	defer c.end()
	ids, err := e.enqueue(ops, each)
	if err != nil {
		return 0, 0, err
	}
	pid := int(e.info("server", "process_id"))
	before, err := cpuTime(pid)
	if err != nil {
		return 0, 0, err
	}
	cmd, err := e.worker(c, "cpu", 0)
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // so that it writes its profile
		_ = cmd.Wait()
	}()
	all, err := e.until(seldom, ids, record.Operation.Done)
	if err != nil {
		return 0, 0, err
	}
	if all.Detached != ops*each {
		return 0, 0, fmt.Errorf("%d of %d desktops were detached", all.Detached, ops*each)
	}
	if ofWorker, err = cpuTime(cmd.Process.Pid); err != nil {
		return 0, 0, err
	}
	ofRedis, err = cpuTime(pid)
	return ofWorker, ofRedis - before, err
}

// cpuTime is the user and system time of a process so far, without its children.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("CPU times need /proc of Linux: %w", err)
	}
	// The second field is a name in parentheses, which may have spaces. utime and stime are fields 14 and 15.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100, nil // USER_HZ is 100
}
