package flare

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	mlv1 "flare.example/go/gen/flare/ml/v1"
)

func getJob(client *Client) error {
	_, err := client.Training.GetTrainingJob(context.Background(), &mlv1.GetTrainingJobRequest{Name: jobName})
	return err
}

func answering() func(context.Context) (*mlv1.TrainingJob, error) {
	return func(context.Context) (*mlv1.TrainingJob, error) { return &mlv1.TrainingJob{Name: jobName}, nil }
}

func TestWrongPasswordFailsTheConnection(t *testing.T) {
	services := startServices(t)
	_, err := Connect(context.Background(), Gateway(services.address), Login("ann", "wrong"))
	if ReasonOf(err) != "CREDENTIALS_REJECTED" {
		t.Fatalf("got %v", err)
	}
}

func TestAddressWithoutPortIsNamed(t *testing.T) {
	_, err := Connect(context.Background(), Gateway("example.org"), Token("t"))
	if err == nil || !strings.Contains(err.Error(), `"example.org": want host:port`) {
		t.Fatalf("got %v", err)
	}
}

func TestExpiredTokenIsRenewedOnceAndTheCallRepeated(t *testing.T) {
	services := startServices(t)
	services.getTrainingJob = answering()
	client := services.login(t)
	services.expireTokens()
	if err := getJob(client); err != nil {
		t.Fatal(err)
	}
	if services.logins != 1 || services.renewals != 1 {
		t.Fatalf("%d logins, %d renewals", services.logins, services.renewals)
	}
}

func TestCallsThatFindTheirTokenExpiredTogetherRenewItOnce(t *testing.T) {
	services := startServices(t)
	services.getTrainingJob = answering()
	client := services.login(t)
	services.expireTokens()
	var together sync.WaitGroup
	for i := 0; i < 20; i++ {
		together.Add(1)
		go func() {
			defer together.Done()
			if err := getJob(client); err != nil {
				t.Error(err)
			}
		}()
	}
	together.Wait()
	if services.renewals != 1 {
		t.Fatalf("%d renewals", services.renewals)
	}
}

func TestRejectedRefreshTokenLeadsToANewLogin(t *testing.T) {
	services := startServices(t)
	services.getTrainingJob = answering()
	client := services.login(t)
	services.expireTokens()
	services.refresh = "revoked"
	if err := getJob(client); err != nil {
		t.Fatal(err)
	}
	if services.logins != 2 {
		t.Fatalf("%d logins", services.logins)
	}
}

func TestTokenIsRenewedBeforeItEnds(t *testing.T) {
	t.Parallel()
	services := startServices(t)
	services.tokenLife = 2 * time.Second
	services.getTrainingJob = answering()
	client := services.login(t)
	for renewals, early := 0, 0; renewals == 0; {
		if err := getJob(client); err != nil {
			t.Fatal(err)
		}
		services.mutex.Lock()
		renewals, early = services.renewals, services.early
		services.mutex.Unlock()
		if early != renewals {
			t.Fatal("the token was renewed after its end")
		}
	}
}

func TestTokenExpiredTwiceIsTheCallersError(t *testing.T) {
	services := startServices(t)
	calls := 0
	services.getTrainingJob = func(context.Context) (*mlv1.TrainingJob, error) {
		calls++
		return nil, failure(codes.Unauthenticated, "TOKEN_EXPIRED", "the token has ended")
	}
	if err := getJob(services.login(t)); ReasonOf(err) != "TOKEN_EXPIRED" || calls != 2 {
		t.Fatalf("got %v after %d calls", err, calls)
	}
}

func TestUnaryCallsHaveADeadline(t *testing.T) {
	services := startServices(t)
	services.getTrainingJob = func(ctx context.Context) (*mlv1.TrainingJob, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	client := services.login(t, WithTimeout(50*time.Millisecond))
	if err := getJob(client); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("got %v", err)
	}
}

func TestErrorsTellWhatTheStatusHolds(t *testing.T) {
	services := startServices(t)
	services.getTrainingJob = func(context.Context) (*mlv1.TrainingJob, error) {
		made, err := status.New(codes.InvalidArgument, "no column 'agee'; did you mean 'age'?").WithDetails(
			&errdetails.ErrorInfo{Reason: "COLUMN_NOT_FOUND", Domain: "flare", Metadata: map[string]string{"column": "agee"}},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "view.columns[0].column", Description: "no such column"},
			}},
			&errdetails.ResourceInfo{ResourceName: "datasets/titanic"},
			retryInfo(1500*time.Millisecond),
		)
		if err != nil {
			t.Error(err)
		}
		return nil, made.Err()
	}
	var got *Error
	if err := getJob(services.login(t)); !errors.As(err, &got) {
		t.Fatalf("got %v", err)
	}
	want := Error{
		Code: codes.InvalidArgument, Reason: "COLUMN_NOT_FOUND", Message: "no column 'agee'; did you mean 'age'?",
		Metadata:   map[string]string{"column": "agee"},
		Violations: []Violation{{Field: "view.columns[0].column", Description: "no such column"}},
		Resource:   "datasets/titanic", RetryDelay: 1500 * time.Millisecond,
	}
	want.status = got.status
	if !reflect.DeepEqual(*got, want) {
		t.Fatalf("got %+v, want %+v", *got, want)
	}
	if got.Error() != "InvalidArgument (COLUMN_NOT_FOUND): no column 'agee'; did you mean 'age'?" {
		t.Fatalf("reads %q", got.Error())
	}
}

func TestMessagesUpTo16MiBPassBothWays(t *testing.T) {
	services := startServices(t)
	services.getTrainingJob = func(context.Context) (*mlv1.TrainingJob, error) {
		return &mlv1.TrainingJob{Name: strings.Repeat("x", 15<<20)}, nil
	}
	client := services.login(t)
	if err := getJob(client); err != nil {
		t.Fatalf("15 MiB in: %v", err)
	}
	large := &mlv1.PredictRequest{Name: strings.Repeat("x", 15<<20)}
	if _, err := client.Predictions.Predict(context.Background(), large); status.Code(err) != codes.Unimplemented {
		t.Fatalf("15 MiB out: %v", err)
	}
	larger := &mlv1.PredictRequest{Name: strings.Repeat("x", 17<<20)}
	if _, err := client.Predictions.Predict(context.Background(), larger); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("17 MiB out: %v", err)
	}
}
