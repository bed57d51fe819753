package policy

import "strings"

// adviceByCode says what a person does about a desktop that failed, or is held,
// with a code, where that is more than what holds for its whole class. A code that
// ends in "*" matches by its beginning.
var adviceByCode = map[string]string{
	// Of guards, before a call.
	"OTHER_USER":      "find out whose the desktop is now: if it was given to somebody else, dismiss this; if the name in the list was wrong, ask again with the right one",
	"GROUP":           "see in the console who is in the group; take the leaver out of the group, or the group off the desktop, then retry",
	"SHARED":          "name the leavers of this desktop as its users, or ask again with shared desktops allowed if all of its users are to lose it",
	"FROZEN":          "settle the order or the bill for which the desktop is frozen, then retry",
	"MAINTENANCE":     "end the maintenance mode of the desktop in the console, then retry",
	"HIBERNATED":      "wake it up in the console, then retry",
	"DESKTOP_ERROR":   "repair or rebuild the desktop in the console, then retry; or delete it there if nobody needs it",
	"NOT_FOUND":       "check the id, the project and the region: this project has never shown such a desktop. Ask again with the right ones; dismiss this if the desktop is known to be deleted",
	"BUSY":            "wait until the task that runs on the desktop has ended, then retry",
	"ATTACHFAIL":      "see in the console why the assignment failed, settle it, then retry",
	"DEATTACHFAIL":    "detach the user in the console once and read what it answers, settle that, then retry",
	"DEATTACH_FAIL_*": "retry; if it fails again, detach the user in the console and read what it answers",

	// Of look-ups.
	"USER_NAME":        "ask again with the name as the message has it, if that is the same person",
	"USER_UNKNOWN":     "check the spelling and the project; if the person never had an account in Workspace, dismiss this, or ask with unknown users ignored",
	"USER_DESKTOPS":    "see in the console which desktops the user has, through which group, and take the user out of it; then retry",
	"COMPUTER_NAME":    "look up the desktop's id in the console and ask again with it: no computer, or more than one, has just this name",
	"NAMED_FOR_OTHERS": "decide whose the desktop is: the list names it for somebody else than the leaver who has it. Ask again with the right user",

	// Of a worker.
	"UNCONFIRMED": "look at the desktop in the console: if the user is off it, retry and a reading proves it; if not, detach it there or retry",
	"DEADLINE":    "see why it waited (a pause, the limits, no worker), then retry: it gets a new deadline",
	"NO_REPLY":    "check the way to the cloud (detachd doctor), then retry",
	"UNKNOWN":     "read the message and the request id, ask the cloud's support with them if it says too little, then retry",
	"NOT_SENT":    "nothing: it goes on by itself",
	"BAD_REQUEST": "correct the id that the message names, and ask again",
	"NOT_API":     "something else than the API answers at this address, such as a proxy or a sign-in page: correct the endpoint or the proxy, then resume the project",
	"NO_RIGHT":    "give the IAM user the right that the message names, try it with detachd doctor --probe, then resume the project",

	// Of the gateway.
	"APIGW.0308": "nothing: it goes on by itself; if it lasts, lower the limits of the project",
	"APIGW.0301": "correct the project's credentials, then resume the project",
	"APIGW.0303": "check the access key and the clock of the worker, then resume the project",
	"APIGW.0307": "renew the token or use a password or an access key, then resume the project",
	"APIGW.0101": "correct the endpoint, the region and the project id, then resume the project",
	"APIGW.0103": "correct the endpoint and the region, then resume the project",
	"APIGW.0302": "give the IAM user the right to call the API, then resume the project",
	"APIGW.0304": "let the account call the API, then resume the project",
	"APIGW.0305": "let the account call the API, then resume the project",
	"APIGW.0306": "let the account call the API, then resume the project",
	"APIGW.0310": "see in the console why the project is unavailable, then resume it here",
	"APIGW.0401": "allow the worker's address in the gateway's access control, then resume the project",
	"APIGW.0402": "allow the worker's address in the gateway's access control, then resume the project",
	"APIGW.0404": "allow the worker's address in the gateway's access control, then resume the project",
	"APIGW.0501": "raise the quota of the API, then resume the project",
	"APIGW.0502": "settle why the account is frozen, then resume the project",
	"APIGW.0802": "let the IAM user work in this region, then resume the project",
	"APIGW.0613": "wait until IAM is well again, then redrive",
	"APIGW.*":    "report it: the gateway could not read the request, which retrying does not change",

	// Of Workspace.
	"WKS.00010032": "see in the console what the desktop is doing, and retry when that is done",
	"WKS.0407":     "wait until the disks are added, then retry",
	"WKS.00010099": "enable the Workspace service for the project, then resume or retry",
	"WKS.00170117": "check the project id and the endpoint: Workspace knows no such tenant; then resume the project",
	"WKS.00050902": "wait until the service is well again, then redrive",
	"WKS.0005":     "wait until the computing service is well again, then redrive",
	"WKS.0009":     "wait until IAM is well again, then redrive",
	"WKS.00129901": "wait a while, then redrive",
	"WKS.00211401": "retry; if it fails again, look at the desktop in the console",
	"WKS.00170208": "check the user group in the console: it does not exist any more; retry then",
	"WKS.00170312": "check the user in the console: it does not exist any more; retry, and a reading shows whether the desktop still has one",
	"WKS.00010110": "give the desktop an address in the console, then retry",
	"WKS.0001":     "check the id: the request names what does not exist; ask again with the right one",
	"WKS.00211102": "report it with the request id: the cloud does not take this request as it is",
	"WKS.00139901": "report it with the request id: the cloud does not take this request as it is",
	"WKS.00149901": "report it with the request id: the cloud does not take this request as it is",
	"WKS.00169901": "report it with the request id: the cloud does not take this request as it is",
	"WKS.00000405": "see in the console what kind of desktop it is: it cannot be detached this way",
	"WKS.00081102": "give the IAM user the right to this desktop, then retry",
	"WKS.00211902": "check the id and the project: the cloud knows no such desktop",
	"WKS.00000003": "wait, and ask the cloud's support if it lasts: the service could not read its database; then redrive",
}

// Advice says what a person can do about desktops that failed or are held with a code:
// what holds for the code, or else for its class, or else "".
func Advice(code, class string) string {
	if advice, own := codeAdvice(code); own {
		return advice
	}
	for _, c := range Classes() {
		if string(c.Class) == class {
			return c.Advice
		}
	}
	return ""
}

func codeAdvice(code string) (string, bool) {
	if advice, whole := adviceByCode[code]; whole {
		return advice, true
	}
	for pattern, advice := range adviceByCode {
		if prefix, isPrefix := strings.CutSuffix(pattern, "*"); isPrefix && strings.HasPrefix(code, prefix) {
			return advice, true
		}
	}
	return "", false
}
