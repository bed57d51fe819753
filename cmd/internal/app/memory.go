package app

import (
	"os"
	"runtime/debug"
)

// heapGrowth is by how much the heap of a worker grows before it is collected, in percent of what is
// in use. With Go's 100 % the collector took a fifth of a worker's CPU time, most of it on
// readings that are garbage a moment later.
const heapGrowth = 200

// GrowHeap is for processes that work on operations, before they begin. GOGC has precedence, and
// GOMEMLIMIT still bounds the heap.
func GrowHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
}
