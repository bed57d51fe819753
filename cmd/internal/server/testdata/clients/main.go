// Program clients submits an operation of which one desktop fails, retries the failure, and
// reads the result, with a client that oapi-codegen made. Package b, which ogen makes, is
// only compiled.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"example.org/clients/a"
	_ "example.org/clients/b"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Getenv("DETACHD_SERVER"), os.Getenv("DETACHD_API_KEY")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("done")
}

func run(ctx context.Context, server, key string) error {
	c, err := a.NewClientWithResponses(server, a.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+key)
		return nil
	}))
	if err != nil {
		return err
	}

	const good, bad = "f5057fee-4c3e-4459-82dd-21250b729601", "38a2aed1-cdca-43dd-9ece-10ce83b1d8a2"
	idempotency := "from-go"
	hq := a.ProjectAlias("hq")
	body := a.OperationRequest{Project: &hq, Desktops: &[]a.DesktopID{good, bad}}
	created, err := c.CreateOperationWithResponse(ctx, &a.CreateOperationParams{IdempotencyKey: &idempotency}, body)
	if err != nil {
		return err
	}
	if created.JSON202 == nil {
		return fmt.Errorf("creating: %s %s", created.Status(), created.Body)
	}
	id := created.JSON202.Id
	again, err := c.CreateOperationWithResponse(ctx, &a.CreateOperationParams{IdempotencyKey: &idempotency}, body)
	if err != nil {
		return err
	}
	if again.JSON202 == nil || again.JSON202.Id != id || again.HTTPResponse.Header.Get("Idempotent-Replayed") != "true" {
		return fmt.Errorf("creating again: %s %s", again.Status(), again.Body)
	}

	brief := false
	for done := false; !done; {
		op, err := c.GetOperationWithResponse(ctx, id, &a.GetOperationParams{AccessRemoved: &brief})
		switch {
		case err != nil:
			return err
		case op.JSON200 == nil:
			return fmt.Errorf("polling: %s %s", op.Status(), op.Body)
		}
		done = op.JSON200.Done
	}

	project, code := a.ProjectAlias("hq"), "WKS.00010110"
	failures, err := c.ListFailuresWithResponse(ctx, &a.ListFailuresParams{Project: &project, Code: &code})
	if err != nil {
		return err
	}
	if failures.JSON200 == nil || *failures.JSON200.Total != 1 || failures.JSON200.Items[0].DesktopId != bad {
		return fmt.Errorf("failures: %s %s", failures.Status(), failures.Body)
	}

	begun, err := c.CreateRedriveWithResponse(ctx, nil, a.RedriveRequest{Filter: &a.FailureFilter{Code: &code}})
	if err != nil {
		return err
	}
	if begun.JSON202 == nil || begun.JSON202.Matched != 1 {
		return fmt.Errorf("bulk retry: %s %s", begun.Status(), begun.Body)
	}
	for ended := false; !ended; {
		redrive, err := c.GetRedriveWithResponse(ctx, begun.JSON202.Id)
		switch {
		case err != nil:
			return err
		case redrive.JSON200 == nil:
			return fmt.Errorf("polling the bulk retry: %s %s", redrive.Status(), redrive.Body)
		}
		ended = redrive.JSON200.EndedAt != nil && redrive.JSON200.Retried == 1
	}

	none, err := c.GetOperationWithResponse(ctx, "00000000000000000000", nil)
	if err != nil {
		return err
	}
	if p := none.ApplicationproblemJSON404; p == nil || p.Code != "operation_not_found" || p.Type != "/docs#problem-operation_not_found" {
		return fmt.Errorf("an operation that does not exist: %s %s", none.Status(), none.Body)
	}
	return nil
}
