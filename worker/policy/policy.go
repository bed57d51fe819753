package policy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// ClassRow says what workers do about errors of a class, and what a person can do about
// desktops that failed with it.
type ClassRow struct {
	Class        tasks.Class
	Does, Advice string
}

// Classes lists the classes.
func Classes() []ClassRow {
	return []ClassRow{
		{tasks.ClassTransient, "temporary: retried with backoff; uses one attempt", "Retries exhausted. Retry when the service has recovered."},
		{tasks.ClassThrottled, "too many calls: the whole project waits; uses no attempt", throttledAdvice},
		{tasks.ClassConflict, "the desktop is busy: it is retried apart from the others, which continue",
			"Check in the Workspace console what the desktop is doing, and retry when that has ended."},
		{tasks.ClassAmbiguous, "the call may have taken effect: the desktops are read before anything is sent again",
			"Check the desktop in the Workspace console, then retry: it is read before anything is sent."},
		{tasks.ClassPoison, "one desktop spoils the call: the batch is split until it is alone, and it fails if it is still attached",
			consoleAdvice},
		{tasks.ClassAuth, "credentials refused: the project is paused; uses no attempt",
			"Correct the project's credentials, then resume the project."},
		{tasks.ClassPolicy, "the account lacks a right, or the endpoint is wrong: the project is paused; uses no attempt",
			"Correct the permissions of the IAM user, the endpoint or the account, then resume the project."},
		{tasks.ClassNotAPI, "the answer came from a proxy, a firewall or another server: the project is paused; uses no attempt",
			"Make sure that workers reach the project's endpoint directly, then resume the project."},
		{tasks.ClassDenied, "refused without naming a desktop: the batch is split; eight in a row pause the project; uses no attempt",
			"Grant the IAM user the permission that the message names, then resume the project."},
		{tasks.ClassLocal, "the request cannot be sent: the batch is split until the desktop is alone, and it fails",
			"Correct the id that the message names, then submit it again."},
		{tasks.ClassPermanent, "no retry can fix it: the desktop fails if it is still attached", consoleAdvice},
		{tasks.ClassHeld, "stopped by a guard: a person decides",
			"Confirm the owner or the state of the desktop, then retry, dismiss or cancel."},
	}
}

// Rule is a row of the table of what an error code means; the first row that matches wins.
// Status 0 and an empty Code match everything, a one-digit Status everything that begins
// with it, and a Code that ends in "*" matches by its prefix. An error that may have had an
// effect is Ambiguous whatever the table says.
type Rule struct {
	Of     RuleOf // what was refused
	Status int    // HTTP status of the call
	Code   string // error_code
	Class  tasks.Class
	Why    string // for people
}

// RuleOf says whether a whole call was refused, or one desktop listed in a 200.
type RuleOf string

// What a Rule is about. OfWorker marks detachd's own codes, which cannot be extended.
const (
	OfCall    RuleOf = "call"
	OfDesktop RuleOf = "desktop"
	OfWorker  RuleOf = "worker"
)

// Problem says what is wrong with a rule from the configuration; "" if nothing is.
func (r Rule) Problem() string {
	classes := []tasks.Class{tasks.ClassTransient, tasks.ClassThrottled, tasks.ClassConflict, tasks.ClassAmbiguous, tasks.ClassPoison,
		tasks.ClassAuth, tasks.ClassPolicy, tasks.ClassNotAPI, tasks.ClassDenied, tasks.ClassPermanent}
	if r.Of == OfDesktop {
		classes = []tasks.Class{tasks.ClassTransient, tasks.ClassConflict, tasks.ClassPermanent}
	}
	switch {
	case r.Of != OfCall && r.Of != OfDesktop:
		return fmt.Sprintf("is of %q: call or desktop", r.Of)
	case !slices.Contains(classes, r.Class):
		return fmt.Sprintf("has the class %q, which a refused %s cannot have", r.Class, r.Of)
	case r.Status == 0 && strings.TrimSuffix(r.Code, "*") == "":
		return "would match everything"
	}
	return ""
}

// callRules says what the refusal of a whole call means. Sources: the API page
// of DetachInstances (statuses), the gateway's error code page (APIGW.*), and
// codes that Huawei's own Terraform provider handles (WKS.*). Other codes match
// the rows at the end, by status.
var callRules = []Rule{
	{OfCall, 429, "", tasks.ClassThrottled, "throttled by the gateway; not executed"},
	{OfCall, 0, "APIGW.0308", tasks.ClassThrottled, "throttled by the gateway; not executed"},

	{OfCall, 401, "", tasks.ClassAuth, "the credentials were refused"},
	{OfCall, 0, "APIGW.0301", tasks.ClassAuth, "incorrect IAM authentication information"},
	{OfCall, 0, "APIGW.0303", tasks.ClassAuth, "incorrect app authentication: signature or clock"},
	{OfCall, 0, "APIGW.0307", tasks.ClassAuth, "the token must be updated"},

	{OfCall, 0, "APIGW.0101", tasks.ClassPolicy, "no such API: wrong endpoint, region or project"},
	{OfCall, 0, "APIGW.0103", tasks.ClassPolicy, "no such back end: wrong endpoint or region"},
	{OfCall, 0, "APIGW.0104", tasks.ClassPolicy, "the gateway has no configuration for the API: wrong endpoint or region"},
	{OfCall, 0, "APIGW.0105", tasks.ClassPolicy, "the gateway has no configuration for the API: wrong endpoint or region"},
	{OfCall, 0, "APIGW.0106", tasks.ClassPolicy, "the gateway cannot orchestrate the API: wrong endpoint or region"},
	{OfCall, 0, "APIGW.0204", tasks.ClassPolicy, "the gateway does not support the TLS version of something on the way"},
	{OfCall, 0, "APIGW.0302", tasks.ClassPolicy, "the IAM user has no permission for the API"},
	{OfCall, 0, "APIGW.0304", tasks.ClassPolicy, "the account has no permission for the API"},
	{OfCall, 0, "APIGW.0305", tasks.ClassPolicy, "the account has no permission for the API"},
	{OfCall, 0, "APIGW.0306", tasks.ClassPolicy, "the account has no permission for the API"},
	{OfCall, 0, "APIGW.0310", tasks.ClassPolicy, "the project is unavailable"},
	{OfCall, 0, "APIGW.0401", tasks.ClassPolicy, "this client's address is not allowed"},
	{OfCall, 0, "APIGW.0402", tasks.ClassPolicy, "this client's address is not allowed"},
	{OfCall, 0, "APIGW.0404", tasks.ClassPolicy, "this client's address is not allowed"},
	{OfCall, 0, "APIGW.0501", tasks.ClassPolicy, "the quota is exhausted"},
	{OfCall, 0, "APIGW.0502", tasks.ClassPolicy, "the account is frozen"},
	{OfCall, 0, "APIGW.0802", tasks.ClassPolicy, "the IAM user is forbidden in this region"},
	{OfCall, 0, "WKS.00010099", tasks.ClassPolicy, "the Workspace service is disabled"},
	{OfCall, 0, "WKS.00170117", tasks.ClassPolicy, "the tenant does not exist"},

	{OfCall, 409, "", tasks.ClassConflict, "conflict: the state of a desktop does not allow it"},
	{OfCall, 0, "WKS.00010032", tasks.ClassConflict, "conflict: the state of a desktop does not allow it"},
	{OfCall, 0, "WKS.0407", tasks.ClassConflict, "disks are being added to a desktop"},

	{OfCall, 0, "APIGW.0613", tasks.ClassTransient, "IAM is unavailable; not executed"},
	{OfCall, 0, "WKS.00050902", tasks.ClassTransient, "the service is unavailable; not executed"},

	{OfCall, 407, "", tasks.ClassNotAPI, "a proxy asks for its own credentials"},
	{OfCall, 3, "", tasks.ClassNotAPI, "a redirect, which the API never sends"},
	{OfCall, 405, "", tasks.ClassPermanent, "the request itself is invalid"},
	{OfCall, 413, "", tasks.ClassPermanent, "the request itself is invalid"},
	{OfCall, 414, "", tasks.ClassPermanent, "the request itself is invalid"},
	{OfCall, 415, "", tasks.ClassPermanent, "the request itself is invalid"},

	{OfCall, 400, "", tasks.ClassPoison, "a desktop in the batch is not acceptable"},
	{OfCall, 403, "", tasks.ClassDenied, "no permission for a desktop in the batch, or for the whole project"},
	{OfCall, 404, "", tasks.ClassDenied, "not found: a desktop in the batch, or the whole project"},
	{OfCall, 422, "", tasks.ClassPoison, "a desktop in the batch is not acceptable"},

	{OfCall, 4, "", tasks.ClassPermanent, "the request itself is invalid"},
	{OfCall, 0, "", tasks.ClassTransient, "no connection, or an error that says that nothing was executed"},
}

// desktopRules says what the refusal of one desktop, listed in a 200, means.
// The public documentation lists no codes for it, so an unknown code is retried
// a few times and then left to a person.
var desktopRules = []Rule{
	{OfDesktop, 0, "WKS.00010032", tasks.ClassConflict, "the state of the desktop does not allow it"},
	{OfDesktop, 0, "WKS.0407", tasks.ClassConflict, "disks are being added"},
	{OfDesktop, 0, "WKS.0005", tasks.ClassTransient, "the computing service could not be reached"},
	{OfDesktop, 0, "WKS.0009", tasks.ClassTransient, "IAM could not be reached"},
	{OfDesktop, 0, "WKS.0001", tasks.ClassTransient, "a code of many meanings: its message has the reason"},
	{OfDesktop, 0, "WKS.00129901", tasks.ClassTransient, "the service cannot process it now"},
	{OfDesktop, 0, "WKS.00211401", tasks.ClassTransient, "the operation failed and may be repeated"},
	{OfDesktop, 0, "WKS.00170208", tasks.ClassPermanent, "the user group does not exist"},
	{OfDesktop, 0, "WKS.00170312", tasks.ClassPermanent, "the user does not exist"},
	{OfDesktop, 0, "WKS.00010110", tasks.ClassPermanent, "the desktop has no valid IP address"},
	{OfDesktop, 0, "WKS.00211102", tasks.ClassPermanent, "the parameter is invalid"},
	{OfDesktop, 0, "WKS.00139901", tasks.ClassPermanent, "the request is invalid"},
	{OfDesktop, 0, "WKS.00149901", tasks.ClassPermanent, "the request is invalid"},
	{OfDesktop, 0, "WKS.00169901", tasks.ClassPermanent, "the request is invalid"},
	{OfDesktop, 0, "WKS.00000405", tasks.ClassPermanent, "the method is not allowed for the desktop"},
	{OfDesktop, 0, "WKS.00081102", tasks.ClassPermanent, "no permission for the desktop"},
	{OfDesktop, 0, "WKS.00211902", tasks.ClassPermanent, "the desktop does not exist"},
	{OfDesktop, 0, "WKS.00010099", tasks.ClassPermanent, "the Workspace service is disabled"},
	{OfDesktop, 0, "WKS.00000003", tasks.ClassPermanent, "the service could not read its database"},
	{OfDesktop, 0, "", tasks.ClassTransient, "unknown code: retried"},
}

// ownRules explains detachd's own codes. Those of guards that read a desktop are in
// Verdicts.
var ownRules = []Rule{
	{OfWorker, 0, "UNCONFIRMED", tasks.ClassAmbiguous, "the cloud accepted it but did not show it as detached in time"},
	{OfWorker, 0, "DEADLINE", tasks.ClassTransient, "the deadline of the operation passed before it could be sent"},
	{OfWorker, 0, "NO_REPLY", tasks.ClassTransient, "no reply; it is certain that nothing was done"},
	{OfWorker, 0, "UNKNOWN", tasks.ClassTransient, "the cloud gave no code"},
	{OfWorker, 0, "NOT_SENT", tasks.ClassTransient, "the call was not sent"},
	{OfWorker, 0, "NOT_API", tasks.ClassNotAPI, "the answer did not come from the API"},
	{OfWorker, 0, "BAD_REQUEST", tasks.ClassLocal, "the request cannot be sent"},
	{OfWorker, 0, "USER_NAME", tasks.ClassHeld, "no user has exactly this name, but one has a different spelling of it"},
	{OfWorker, 0, "USER_UNKNOWN", tasks.ClassHeld, "Workspace does not know the user, or does not tell"},
	{OfWorker, 0, "USER_DESKTOPS", tasks.ClassHeld, "Workspace counts desktops for the user but lists none"},
	{OfWorker, 0, "COMPUTER_NAME", tasks.ClassHeld, "no computer, or several, has exactly this name"},
	{OfWorker, 0, "UNDO_NO_RIGHT", tasks.ClassHeld, "the cloud does not let this IAM user give desktops back"},
	{OfWorker, 0, "NAMED_FOR_OTHERS", tasks.ClassHeld, "the operation assigns this desktop of the leaver to someone else"},
}

// match finds the first row that matches; the last row of each table matches everything.
func match(rules []Rule, status int, code string) Rule {
	for _, r := range rules {
		if r.Status != 0 && r.Status != status && r.Status != status/100 {
			continue
		}
		prefix, isPrefix := strings.CutSuffix(r.Code, "*")
		if r.Code == "" || r.Code == code || isPrefix && strings.HasPrefix(code, prefix) {
			return r
		}
	}
	panic("the last row matches everything")
}

// Rules is the table with the rules of a configuration.
type Rules struct{ calls, desktops []Rule }

// NewRules puts the rules of a configuration before the built-in ones.
func NewRules(extra []Rule) Rules {
	var p Rules
	for _, r := range Table(extra) {
		switch r.Of {
		case OfCall:
			p.calls = append(p.calls, r)
		case OfDesktop:
			p.desktops = append(p.desktops, r)
		}
	}
	return p
}

// Table is the whole table of what an error code means: the given rules first, then
// the built-in ones, then detachd's own codes.
func Table(extra []Rule) []Rule { return slices.Concat(extra, callRules, desktopRules, ownRules) }

// Call says what an error of a detach call means. Whatever the table says, a
// request that may have had an effect is ambiguous.
func (r Rules) Call(err error) tasks.Class {
	var e *apiclient.Error
	switch {
	case !errors.As(err, &e):
		return tasks.ClassAmbiguous // not from the API client, so nothing is known
	case e.Local:
		return tasks.ClassLocal
	case e.NotAPI:
		return tasks.ClassNotAPI // even if it may have had an effect: the desktops stay "sending" then
	}
	if e.Effect == apiclient.EffectPossible {
		return tasks.ClassAmbiguous
	}
	if e.AuthFault {
		return tasks.ClassAuth
	}
	if e.Op == apiclient.OpToken && e.Status >= 400 && e.Status < 500 && e.Status != http.StatusTooManyRequests {
		return tasks.ClassPolicy // no desktop was named: IAM does not know its address or the project
	}
	return match(r.calls, e.Status, e.Code).Class
}

// Desktop says what an entry of failed_operation_list means in a reply with that status.
func (r Rules) Desktop(status int, code string) tasks.Class {
	return match(r.desktops, status, code).Class
}
