// Package cron says when a cron expression ticks in a time zone: each tick once and in
// order, whatever the clocks of the zone do.
//
// An expression is evaluated on the wall clock alone, which has neither gaps nor
// repetitions. Then each wall clock becomes an instant: the first at which the clocks of
// the zone show that time or a later one. So a tick in the hour that summer time skips is
// at the end of the gap (Shifted), also when a zone skips a whole day, and one in the hour
// that winter time repeats is the first of the two (FirstOfTwo). Of several ticks in one
// gap each is a tick of its own, at the same instant.
//
// An expression whose hour is * or */n runs in real time instead: also in the second of two
// equal hours (SecondOfTwo), so that an hourly one ticks 25 times on the long day. If its
// hour is *, the hour that does not exist has no tick.
//
// A day of the month and a day of the week that are both given mean either, as in crontab:
// "0 9 13 * FRI" ticks on each 13th and on each Friday.
//
// The package knows nothing of schedules, and has no clock.
package cron
