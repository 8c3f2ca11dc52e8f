//! Posts the notification's body to the address, else to `url`, with the setting `token` as the header `x-token`; the
//! answer's body is the receipt's detail.

use fanfare_sdk::Request;

fanfare_components::channel! {
    send |attempt| {
        let target: fanfare_components::Target = fanfare_sdk::settings()?;
        let body = attempt.notification.body.clone().unwrap_or_default();
        let request =
            Request::post(attempt.address_or(&target.url)).header("x-token", &target.token).body(body);
        let response = request.send()?;
        Ok(response.receipt()?.detail(response.text()))
    }
}
