// Package schedules runs schedules: every worker process has a Ticker, which makes the
// operations of ticks that are due.
//
// Nothing is locked. A tick makes an operation whose id is a hash of the tick's id, so two
// processes, or one after the other's death, make one operation. What became of the tick is
// written afterwards by compare-and-set, also if it made none. A list in a file has the hash of
// its content in place of the tick, so each content runs once.
//
// The time is that of Redis, read once a second, plus what has passed since by a clock that
// nobody sets. The clock of the machine does not matter.
//
// It does not read expressions (tasks/cron), keep anything (tasks/record), or know how a source
// is read (Source).
package schedules
