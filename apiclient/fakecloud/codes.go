package fakecloud

import (
	"fmt"
	"net/http"
)

// throttled is the message of APIGW.0308 with its limit in calls a second.
const throttled = "The throttling threshold has been reached: policy user over ratelimit,limit:%g,time:1 second"

// Codes in failed_operation_list. They are invented, because the real ones are not public:
// a client must not depend on them.
const (
	CodeHibernated  = "WKS.00990001"
	CodeFrozen      = "WKS.00990002"
	CodeMaintenance = "WKS.00990003"
	CodeNotFound    = "WKS.00990004"
)

// documented maps codes to the status and message in the documentation.
var documented = map[string]struct {
	status  int
	message string
}{
	"WKS.0001":     {http.StatusBadRequest, "The request message input by the interface is empty."},
	"WKS.0005":     {http.StatusInternalServerError, "Failed to invoke ECS interface."},
	"WKS.0407":     {http.StatusBadRequest, "This operation cannot be performed because disks are being added."},
	"WKS.00000405": {http.StatusMethodNotAllowed, "The method specified in the request is not allowed for this resource."},
	"WKS.00010032": {http.StatusConflict, "Operation conflict."},
	"WKS.00010099": {http.StatusForbidden, "The Workspace service is disabled."},
	"WKS.00050902": {http.StatusServiceUnavailable, "The service is now unavailable to process the request."},
	"WKS.00081102": {http.StatusForbidden, "User does not have permission to access this resource."},
	"WKS.00211102": {http.StatusBadRequest, "The parameter is invalid."},
	"WKS.00211302": {http.StatusUnauthorized, "User authorization error."},
	"WKS.00211401": {http.StatusInternalServerError, "The requested operation failed. Please try again later."},
	"WKS.00211902": {http.StatusNotFound, "The resource does not exist."},
	"APIGW.0101":   {http.StatusNotFound, "The API does not exist or has not been published in the environment."},
	"APIGW.0201":   {http.StatusBadGateway, "Backend unavailable."},
	"APIGW.0301":   {http.StatusUnauthorized, "Incorrect IAM authentication information: Unauthorized"},
	"APIGW.0302":   {http.StatusForbidden, "The IAM user is not authorized to access the API."},
	"APIGW.0307":   {http.StatusUnauthorized, "The token must be updated."},
	"APIGW.0308":   {http.StatusTooManyRequests, fmt.Sprintf(throttled, 10.0)},
	"APIGW.0310":   {http.StatusForbidden, "The project is unavailable."},
	"APIGW.0601":   {http.StatusInternalServerError, "Internal server error."},
}

// defaultCode returns the usual code of an error with the status.
func defaultCode(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "APIGW.0301"
	case http.StatusForbidden:
		return "WKS.00081102"
	case http.StatusNotFound:
		return "WKS.00211902"
	case http.StatusConflict:
		return "WKS.00010032"
	case http.StatusTooManyRequests:
		return "APIGW.0308"
	case http.StatusInternalServerError:
		return "WKS.00211401"
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return "APIGW.0201"
	case http.StatusServiceUnavailable:
		return "WKS.00050902"
	}
	return "WKS.00211102"
}

// defaultMessage returns the documented message of a code, or else the text of the status.
func defaultMessage(status int, code string) string {
	if status == http.StatusGatewayTimeout && code == "APIGW.0201" {
		return "Backend timeout." // the code has several meanings
	}
	if u, known := documented[code]; known {
		return u.message
	}
	return http.StatusText(status)
}
