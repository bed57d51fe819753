// Package fakecloud is a fake of the Huawei Cloud Workspace API for tests: a stateful
// http.Handler with desktops and their users, detach calls and their jobs, IAM tokens, and
// faults on request.
//
// It serves
//
//	POST /v3/auth/tokens
//	POST /v2/{project_id}/desktops/detach
//	POST /v2/{project_id}/desktops/batch-detach
//	POST /v2/{project_id}/desktops/attach
//	GET  /v2/{project_id}/desktops
//	GET  /v2/{project_id}/desktops/detail
//	GET  /v2/{project_id}/desktops/{desktop_id}
//	GET  /v2/{project_id}/users
//	GET  /v2/{project_id}/statistics/metrics/desktops
//	GET  /v2/{project_id}/workspace-jobs/{job_id}
//	GET  /v2/{project_id}/workspace-sub-jobs
//
// and nothing else of the real API. It shares no code with the client: both are written
// from the public documentation, so that a mistake in one is not repeated in the other.
//
// # Time
//
// The state of a desktop is computed from Config.Clock when it is read. There are no
// timers or goroutines behind a slow detach, so a test's clock controls it. Only
// Config.Latency, Config.Jitter, Config.ReadLatency and Fault.Delay take real time.
//
// # What is documented and what is guessed
//
// Paths, formats, states and the codes of the gateway are as documented. The following is
// not public and a choice of this package:
//
//   - The codes in failed_operation_list: CodeHibernated, CodeFrozen, CodeMaintenance
//     and CodeNotFound are invented. A client must not decide by them, but read the
//     desktop back.
//   - A desktop that is busy, or is being attached or detached, fails the whole
//     call with 409 WKS.00010032.
//   - An attach is accepted for every desktop. What is refused (no such desktop or user, a
//     desktop of a pool, one that has another user) is a failed part of its job.
//   - An attach deletes the data of the users who had the desktop last: without is_clear_data
//     false, and whenever a single-user desktop gets another user. Users are told apart by id.
//   - On a SHARED desktop it adds users.
//   - A detach that ends as DEATTACHING never ends; its part of a job runs on.
//   - A detach of a desktop without users is accepted and changes nothing.
//   - Detach removes every user of a SHARED desktop. A batch-detach without users is
//     invalid unless is_detach_all_users is true; users without access are ignored.
//   - A single-user desktop is shut down after its detach unless shutoff_after_detach is
//     false; a SHARED one keeps running unless it is true.
//   - The ids in success_job_ids are unknown to the job calls.
//   - user_names and computer_names match exactly (see Config.FuzzyUserNames and
//     FuzzyComputerNames), user_name and computer_name any part.
//   - Desktops were created in the order in which they were added, whatever Desktop.Created says.
//   - Usage metrics list every desktop with a whole number of idle days. A day in which it was used
//     counts one hour. A desktop that nobody has used is idle since it was created.
//   - Users are all who ever had a desktop of the project, and those of AddPeople.
//   - An unknown project is 404 WKS.00211902; a token for another project, or without
//     one, is 403 APIGW.0302.
//   - A client that gives up waiting for its reply does not stop the detach. It makes it
//     take effect at once unless Config.KeepsTime is set.
//
// # What it observes
//
// Requests is the log of requests, Removals lists who lost which desktop by which call,
// Assignments who got one, and whether data was deleted.
// DetachedTimes counts the accepted detaches of a desktop, DetachedInVain those without
// effect, Reads the requests for it. InTwoCallsAtOnce lists the desktops in overlapping
// calls that passed authentication and were valid. A call ends just before its reply is
// written, or when it starts to hang: with a later end, a client that acts on the reply at
// once, or has given up, would be blamed wrongly.
package fakecloud
