// Package redisfault explains why Redis refuses a command or does not answer: one table, and
// one function that finds the row of an error. The command line, the HTTP API, workers,
// doctor and the probes all take their words from it.
//
// Redis names a refusal with the first word of its reply ("OOM command not allowed …").
// Three things hide that word: a script on Redis 6 and older ("ERR Error running script
// (call to f_…): @user_script:1: -READONLY You can't write …"), products that put ERR before
// every reply ("ERR READONLY …"), and asynq, which keeps only the text of the reply to a
// script ("INTERNAL_ERROR: redis eval error: OOM …"). Of finds it in all of them.
package redisfault
