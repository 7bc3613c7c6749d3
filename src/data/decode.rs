//! One image file to the pixels of a network's input size.

use std::path::Path;

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use crate::error::{Error, Result};

/// Pixels along a side beyond which a file is refused before it is decoded.
const MAX_SIDE: u32 = 32_768;

/// Bytes that decoding one file may take.
const MAX_BYTES: u64 = 512 << 20;

/// Decodes an image file (PNG, JPEG, BMP, GIF, TIFF or WebP, told by its content) as (`height`, `width`, 3)
/// bytes.
///
/// The image is turned upright as its camera noted, shrunk or enlarged (without distortion) until it just
/// covers the size, and its centre is cut out. An image of that size already keeps its pixels. Transparency
/// is ignored; of an animation the first frame is taken.
///
/// # Errors
/// When the file cannot be opened, is no image, is damaged, or is larger than 32,768 pixels a side or 512
/// MiB.
pub fn decode_image(path: &Path, height: usize, width: usize) -> Result<Vec<u8>> {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let reader = reader.map_err(|error| Error::io("open", path, &error))?;
    let upright = decode(reader).map_err(|error| {
        Error::data(format!("{} is not readable as an image ({error}); remove or repair it", path.display()))
    })?;
    let too_large = |_| Error::usage(format!("an image of {height}x{width} is too large"));
    let (height, width) =
        (u32::try_from(height).map_err(too_large)?, u32::try_from(width).map_err(too_large)?);
    Ok(cover(upright, height, width).into_rgb8().into_raw())
}

fn decode(mut reader: ImageReader<std::io::BufReader<std::fs::File>>) -> image::ImageResult<DynamicImage> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// The centre of `image`, scaled so that it covers `height` x `width`.
fn cover(image: DynamicImage, height: u32, width: u32) -> DynamicImage {
    if (image.height(), image.width()) == (height, width) {
        return image;
    }
    let (from_height, from_width) = (u64::from(image.height()), u64::from(image.width()));
    // The part of the image with the wanted proportions, to the nearest pixel, is cut out first: an image a
    // thousand times as long as high need not be enlarged as a whole.
    let (tall, wide) = (u64::from(height), u64::from(width));
    let nearest = |a: u64, b: u64, c: u64| ((2 * a * b + c) / (2 * c)).max(1);
    let (cut_height, cut_width) = if from_height * wide >= from_width * tall {
        (nearest(from_width, tall, wide).min(from_height), from_width)
    } else {
        (from_height, nearest(from_height, wide, tall).min(from_width))
    };
    let (top, left) = ((from_height - cut_height) / 2, (from_width - cut_width) / 2);
    let cut = image.crop_imm(left as u32, top as u32, cut_width as u32, cut_height as u32);
    // A triangle filter widens with the reduction, so it does not alias, and needs no sine.
    cut.resize_exact(width, height, FilterType::Triangle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Rgb, RgbImage};
    use std::io::Cursor;

    fn encode(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decode_bytes(bytes: &[u8], height: usize, width: usize) -> Result<Vec<u8>> {
        let file = tempfile::Builder::new().suffix(".png").tempfile().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        decode_image(file.path(), height, width)
    }

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 20) as u8, (y * 20) as u8, 100]))
    }

    #[test]
    fn an_image_of_the_right_size_keeps_its_pixels_in_every_lossless_format() {
        let image = gradient(7, 5);
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
            assert_eq!(decode_bytes(&encode(&image, format), 5, 7).unwrap(), *image.as_raw(), "{format:?}");
        }
        for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
            let pixels = decode_bytes(&encode(&image, format), 5, 7).unwrap();
            let near = pixels.iter().zip(image.as_raw()).filter(|(a, b)| a.abs_diff(**b) < 40).count();
            assert!(near > 95, "{format:?}: {near} of 105 near");
        }
    }

    #[test]
    fn the_centre_is_cut_out_without_distortion() {
        // Red, green and blue thirds: the middle one is the square centre.
        let wide = RgbImage::from_fn(12, 4, |x, _| {
            Rgb([(x < 4) as u8 * 255, (4..8).contains(&x) as u8 * 255, (x >= 8) as u8 * 255])
        });
        let green = |count: usize| [0, 255, 0].repeat(count);
        assert_eq!(decode_bytes(&encode(&wide, ImageFormat::Png), 4, 4).unwrap(), green(16));
        assert_eq!(decode_bytes(&encode(&wide, ImageFormat::Png), 2, 2).unwrap(), green(4));
        let tall = image::imageops::rotate90(&wide);
        assert_eq!(decode_bytes(&encode(&tall, ImageFormat::Png), 8, 8).unwrap(), green(64));
        // One pixel high, and much too wide.
        let line = RgbImage::from_pixel(3000, 1, Rgb([9, 8, 7]));
        assert_eq!(decode_bytes(&encode(&line, ImageFormat::Png), 4, 6).unwrap(), [9, 8, 7].repeat(24));
    }

    #[test]
    fn photographs_are_turned_upright() {
        // Red on the left, blue on the right, and the camera's note that the left is up.
        let image =
            RgbImage::from_fn(32, 16, |x, _| if x < 16 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
        let mut bytes = encode(&image, ImageFormat::Jpeg);
        let exif =
            b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        bytes.splice(2..2, exif.iter().copied());
        let upright = decode_bytes(&bytes, 32, 16).unwrap();
        assert!(upright[0] > 200 && upright[2] < 50, "red above: {:?}", &upright[..3]);
        assert!(upright[32 * 16 * 3 - 1] > 200, "blue below");
    }

    #[test]
    fn grey_and_transparent_images_become_colour() {
        let mut bytes = Cursor::new(vec![]);
        image::GrayImage::from_pixel(2, 2, image::Luma([77])).write_to(&mut bytes, ImageFormat::Png).unwrap();
        assert_eq!(decode_bytes(&bytes.into_inner(), 2, 2).unwrap(), [77; 12]);
        let mut bytes = Cursor::new(vec![]);
        image::RgbaImage::from_pixel(2, 2, image::Rgba([1, 2, 3, 0]))
            .write_to(&mut bytes, ImageFormat::Png)
            .unwrap();
        assert_eq!(decode_bytes(&bytes.into_inner(), 2, 2).unwrap(), [1, 2, 3].repeat(4));
    }

    #[test]
    fn files_that_are_no_image_are_named_with_the_remedy() {
        let good = encode(&gradient(20, 20), ImageFormat::Png);
        for bad in [&b""[..], b"hello", &good[..good.len() / 2], &good[..20]] {
            let error = decode_bytes(bad, 4, 4).unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Data);
            assert!(error.to_string().ends_with("; remove or repair it"), "{error}");
        }
        assert!(
            decode_image(Path::new("/no/such.png"), 4, 4).unwrap_err().to_string().contains("cannot open")
        );
        // A header that claims 30,000 x 30,000 pixels of a few bytes.
        let mut bomb = encode(&gradient(20, 20), ImageFormat::Bmp);
        bomb[18..22].copy_from_slice(&30_000u32.to_le_bytes());
        bomb[22..26].copy_from_slice(&30_000u32.to_le_bytes());
        assert!(decode_bytes(&bomb, 4, 4).is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_image_is_read_or_refused(
            which in 0usize..6, at in proptest::prelude::any::<proptest::sample::Index>(),
            kind in 0..4, byte in 0u8..
        ) {
            let format = [
                ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp,
                ImageFormat::Gif, ImageFormat::Tiff, ImageFormat::WebP,
            ][which];
            let mut bytes = encode(&gradient(9, 8), format);
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
            match decode_bytes(&bytes, 4, 4) {
                Ok(pixels) => assert_eq!(pixels.len(), 48),
                Err(error) => assert_eq!(error.kind(), crate::error::Kind::Data),
            }
        }
    }
}
