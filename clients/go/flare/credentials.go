package flare

import (
	"context"
	"sync"
	"time"

	authv1 "flare.example/go/gen/flare/auth/v1"
)

// TokenSource gives calls their access token. It is used by several goroutines at once.
type TokenSource interface {
	// Token returns an access token. `rejected` is the token that a service last called expired, or empty: it is not
	// worth returning again. An error fails the call.
	Token(ctx context.Context, rejected string) (string, error)
}

// Credentials say who calls. The auth service is there for those that get their tokens from it.
type Credentials func(auth authv1.AuthServiceClient) TokenSource

// Login calls as an account of Flare's own auth service. It renews the access token before it ends, and logs in anew when
// the refresh token has ended too.
func Login(username, password string) Credentials {
	return func(auth authv1.AuthServiceClient) TokenSource {
		return &session{auth: auth, username: username, password: password}
	}
}

// Token calls with a token that somebody else keeps. It is not renewed.
func Token(accessToken string) Credentials {
	return From(fixedToken(accessToken))
}

// From calls with the tokens of another source, such as the operator's own OpenID provider.
func From(source TokenSource) Credentials {
	return func(authv1.AuthServiceClient) TokenSource { return source }
}

type fixedToken string

func (t fixedToken) Token(context.Context, string) (string, error) {
	return string(t), nil
}

// longestMargin before its end is when an access token is renewed; a short-lived one at four fifths of its life.
const longestMargin = time.Minute

// renewalTimeout bounds a renewal, which outlives the call that asked for it: a refresh token works only once, so an
// abandoned renewal would lose it.
const renewalTimeout = 30 * time.Second

// renewalPause follows a renewal that failed while the old token is still good.
const renewalPause = time.Second

// session is a login at the auth service.
type session struct {
	auth     authv1.AuthServiceClient
	username string
	password string

	mutex   sync.Mutex
	pair    *authv1.TokenPair
	renewAt time.Time
	renewal *renewal // the one under way, or nil
}

// renewal is a request for new tokens that all calls wait for together.
type renewal struct {
	done  chan struct{}
	token string
	err   error
}

// Token returns the token at hand while it is good, and renews it in the background when its end is near. Without a good
// one it waits for the renewal.
func (s *session) Token(ctx context.Context, rejected string) (string, error) {
	s.mutex.Lock()
	now := time.Now()
	good := s.pair != nil && s.pair.AccessToken != rejected && now.Before(s.pair.AccessExpireTime.AsTime())
	if s.renewal == nil && (!good || now.After(s.renewAt)) {
		s.renewal = &renewal{done: make(chan struct{})}
		go s.renew(s.renewal, s.pair)
	}
	pair, current := s.pair, s.renewal
	s.mutex.Unlock()
	if good {
		return pair.AccessToken, nil
	}
	select {
	case <-current.done:
		return current.token, current.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (s *session) renew(current *renewal, old *authv1.TokenPair) {
	ctx, cancel := context.WithTimeout(context.Background(), renewalTimeout)
	defer cancel()
	pair, err := s.newPair(ctx, old)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err == nil {
		left := time.Until(pair.AccessExpireTime.AsTime())
		margin := left / 5
		if margin > longestMargin {
			margin = longestMargin
		}
		s.pair, s.renewAt = pair, time.Now().Add(left-margin)
	} else {
		s.renewAt = time.Now().Add(renewalPause)
	}
	current.token, current.err, s.renewal = pair.GetAccessToken(), err, nil
	close(current.done)
}

func (s *session) newPair(ctx context.Context, old *authv1.TokenPair) (*authv1.TokenPair, error) {
	if old.GetRefreshToken() != "" {
		pair, err := s.auth.RefreshTokens(ctx, &authv1.RefreshTokensRequest{RefreshToken: old.RefreshToken})
		if ReasonOf(err) != "REFRESH_TOKEN_REJECTED" {
			return pair, err
		}
	}
	return s.auth.Login(ctx, &authv1.LoginRequest{Username: s.username, Password: s.password})
}
