//! Thousands of images made small, with the `image` crate.
//!
//! `cargo run --release -p programs --bin resize_images [IMAGES]`
//!
//! PNG files go in and come out as `Copied` bytes, which are not encoded on their way. Images are
//! drawn as the work proceeds, so any number of them takes little memory. One that is damaged is an
//! error of its own and stops nobody.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, RgbImage};
use proc_pool::{Copied, Pool, task};

/// Pixels each way, before and after.
const LARGE: u32 = 256;
const SMALL: u32 = 32;

/// A PNG file made small.
#[task(pure)]
fn resize(png: Copied<u8>) -> Result<Copied<u8>, String> {
    let text = |error: image::ImageError| error.to_string();
    let image = image::load_from_memory_with_format(&png, ImageFormat::Png).map_err(text)?;
    let small = image.resize_exact(SMALL, SMALL, FilterType::Triangle);
    png_of(&small).map(Copied::from).map_err(text)
}

fn png_of(image: &DynamicImage) -> Result<Vec<u8>, image::ImageError> {
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}

/// The image of this number: its left half has one colour, its right half another.
fn generate(number: u32) -> Result<Vec<u8>, image::ImageError> {
    let image = RgbImage::from_fn(LARGE, LARGE, |x, _| {
        if x < LARGE / 2 { left(number) } else { image::Rgb([0, 0, 255]) }
    });
    png_of(&image.into())
}

fn left(number: u32) -> image::Rgb<u8> {
    image::Rgb([(number % 256) as u8, (number / 256 % 256) as u8, 0])
}

/// Whether these bytes are the small image of this number.
fn is_right(png: &[u8], number: u32) -> Result<bool, image::ImageError> {
    let image = image::load_from_memory_with_format(png, ImageFormat::Png)?.into_rgb8();
    let corners = [*image.get_pixel(0, 0), *image.get_pixel(SMALL - 1, SMALL - 1)];
    Ok(image.dimensions() == (SMALL, SMALL) && corners == [left(number), image::Rgb([0, 0, 255])])
}

#[proc_pool::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let images: u32 = std::env::args().nth(1).map_or(Ok(2000), |images| images.parse())?;
    let pool = Pool::new()?;
    // Every hundredth file is cut short.
    let files = (0..images).map(|number| {
        let mut png = generate(number).unwrap_or_default();
        if number % 100 == 99 {
            png.truncate(100);
        }
        Copied::from(png)
    });
    let (mut right, mut damaged) = (0, 0);
    for (number, result) in pool.imap_unordered(resize, files).ahead(64) {
        match result? {
            Ok(png) if is_right(&png, number as u32)? => right += 1,
            Ok(_) => return Err(format!("image {number} is not what it should be").into()),
            Err(_) => damaged += 1,
        }
    }
    pool.close()?;
    println!("resized: {right}");
    println!("damaged: {damaged}");
    Ok(())
}
